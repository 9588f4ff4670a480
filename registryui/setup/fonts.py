"""The two typefaces of the pages, cut down to what a registry's pages write: about 80 kB in all.

They come from packages, not from the repository; Chinese text uses the reader's fonts.
"""

import io
from pathlib import Path

import fontpkg_inter
import fontpkg_jetbrains_mono
from django.conf import settings

from registryui import files

SOURCES = {
    "boathouse-sans.woff2": Path(fontpkg_inter.ROOT) / "files" / "Inter[opsz,wght].ttf",
    "boathouse-mono.woff2": (
        Path(fontpkg_jetbrains_mono.ROOT) / "files" / "JetBrainsMono[wght].ttf"
    ),
}
# Latin, Latin-1, Latin Extended-A, punctuation, superscripts and currency, arrows, operators, box
# drawing and geometric shapes.
UNICODES = (
    *range(0x20, 0x7F),
    *range(0xA0, 0x180),
    *range(0x2010, 0x2070),
    *range(0x20A0, 0x20C0),
    *range(0x2190, 0x2200),
    *range(0x2212, 0x2266),
    *range(0x2500, 0x25A0),
    *range(0x25A0, 0x2600),
    0x2713,
    0x2717,
)


def make() -> None:
    """Makes the font files that are missing below DATA/made, one of the static folders."""
    for name, source in SOURCES.items():
        target = settings.DATA / "made" / "portal" / "fonts" / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            files.write(target, _cut(source))


def _cut(source: Path) -> bytes:
    from fontTools import subset  # each command would import them: a fifth of its start
    from fontTools.ttLib import TTFont

    options = subset.Options(flavor="woff2", layout_features=["*"], notdef_outline=True)
    options.drop_tables += ["DSIG"]
    font = TTFont(source, lazy=True)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=UNICODES)
    cutter.subset(font)
    font.flavor = "woff2"
    written = io.BytesIO()
    font.save(written)
    return written.getvalue()
