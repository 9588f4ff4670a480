"""The grammar of scopes: what a right holds for. Rights, and the settings, read it by this."""

from .names import check_repository

EVERYWHERE = "*"
# Parts of a namespace that can be a scope: nginx needs as many stat calls for a refused request.
MOST_PARTS = 8


class TooDeep(ValueError):
    """A namespace of more than MOST_PARTS parts."""


def parse(text: str) -> str:
    """The scope in its one form: `*`, `team/*` or `team/api`. `team/` is `team/*`.

    TooDeep, or another ValueError, for anything else.
    """
    text = text.strip()
    if text in (EVERYWHERE, "/*", "*/*"):
        return EVERYWHERE
    is_namespace = text.endswith(("/", "/*"))
    name = text.removesuffix("*").removesuffix("/") if is_namespace else text
    check_repository(name)
    if is_namespace and name.count("/") >= MOST_PARTS:
        raise TooDeep(name)
    return f"{name}/*" if is_namespace else name
