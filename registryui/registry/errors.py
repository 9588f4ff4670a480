"""What can go wrong between us and the registry.

    RegistryError          the registry refused: `code` and `status` are its own words
    ├── NotFound           it says that the repository, manifest or blob is not there
    ├── Unreachable        no answer: refused, timed out, cut off, untrusted certificate
    ├── TooLarge           the answer is longer than we are willing to read
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
    """The registry itself says that it is not there, not some proxy in between."""


class Unreachable(RegistryError):
    """No answer, or only half of one. Always temporary."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message, status=status, temporary=True)


class TooLarge(RegistryError):
    """The answer is over the limit; nothing of it was kept."""


class BadAnswer(RegistryError):
    """The answer cannot be true, or does not come from a registry."""
