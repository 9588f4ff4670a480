"""The icons of the pages, as one file of symbols that browsers keep: drawn by Lucide."""

import re
from importlib import resources
from importlib.metadata import version
from zipfile import ZipFile

from django.conf import settings

from registryui import files

FILE = "portal/icons.svg"
# `icon("search")` in a template refers to one of these; another name is an error.
_NAMES = (
    "anchor archive arrow-left-right badge-check ban binary bot boxes calculator check "
    "chevron-down chevron-left chevron-right chevron-up circle circle-alert circle-check "
    "circle-dot circle-minus circle-question-mark circle-slash circle-stop circle-x "
    "clipboard-list clock cloud-download container copy cpu download ellipsis external-link "
    "eye file file-badge file-check file-diff flame gauge git-compare hand hard-drive "
    "heart-pulse history hourglass info key-round languages laptop layers layout-dashboard "
    "link list-filter lock lock-keyhole lock-open log-in log-out menu minus monitor moon "
    "package paperclip pencil pin play plus recycle refresh-cw rotate-cw save scan-search "
    "scissors scroll-text search search-x server share-2 shield shield-alert shield-check "
    "ship-wheel square-terminal sun tags terminal trash-2 triangle-alert undo-2 unlink "
    "upload user user-cog user-plus user-x x "
)
NAMES = frozenset(_NAMES.split())


def make() -> None:
    """Makes the file below DATA/made, one of the static folders, unless it is there as it would be
    made."""
    target = settings.DATA / "made" / FILE
    drawn_from = f"<!-- lucide {version('lucide')}: {_NAMES}-->"
    if not target.exists() or not target.read_text().startswith(drawn_from):
        with resources.files("lucide").joinpath("lucide.zip").open("rb") as packed:
            drawn = ZipFile(packed)
            symbols = "".join(_symbol(name, drawn) for name in sorted(NAMES))
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write(
            target, f'{drawn_from}<svg xmlns="http://www.w3.org/2000/svg">{symbols}</svg>\n'
        )


def _symbol(name: str, drawn: ZipFile) -> str:
    """portal.css says how lines are drawn."""
    svg = re.sub(r">\s+<", "><", drawn.read(f"{name}.svg").decode()).strip()
    inside = re.sub(r"^<svg[^>]*>|</svg>$", "", svg)
    return f'<symbol id="{name}" viewBox="0 0 24 24">{inside}</symbol>'
