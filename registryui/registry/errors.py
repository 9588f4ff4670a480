"""What can go wrong between us and the registry.

    RegistryError          the registry refused: `code` and `status` are its own
    ├── NotFound           the repository, manifest or blob does not exist
    ├── Unreachable        no answer: refused, timed out, interrupted, untrusted certificate
    ├── TooLarge           the answer exceeds the limit
    └── BadAnswer          it answered, and not like a registry: no JSON, a digest that does not
                           match, a link or redirect to elsewhere, a manifest it cannot read

`temporary` tells whether the same request may succeed later: no answer, 429, or any 5xx.
Expected absence of a manifest or blob is None, not NotFound (see source.py).
"""


class RegistryError(Exception):
    """The registry refused. `str()` is one line for a log; it holds no credentials."""

    def __init__(
        self, message: str, *, code: str = "", status: int = 0, temporary: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code  # the registry's error code, UNAUTHORIZED …; "" if it gave none
        self.status = status  # of HTTP; 0 without an answer
        self.temporary = temporary


class NotFound(RegistryError):
    """The registry itself says that it does not exist, not some proxy in between."""


class Unreachable(RegistryError):
    """No answer, or an incomplete one. Always temporary."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message, status=status, temporary=True)


class TooLarge(RegistryError):
    """The answer is over the limit; nothing of it was kept."""


class BadAnswer(RegistryError):
    """The answer is wrong, or not from a registry."""
