"""What differs between two folders of pictures and HTML.

Chromium reads the pictures: the same file is the same picture, and of two files that differ it
compares every pixel. Nothing else here could read one.
"""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page

from tests.support.browser import chromium

LINES = 40  # of a difference that are printed; all of them are in its file
# Before, after, and in red where they differ. A pixel that only one of them has is a difference.
COMPARE = """async texts => {
    const images = await Promise.all(texts.map(async text => createImageBitmap(
        await (await fetch(`data:image/png;base64,${text}`)).blob())));
    const width = Math.max(...images.map(image => image.width));
    const height = Math.max(...images.map(image => image.height));
    const draw = (image, at, onto) => onto.getContext("2d").drawImage(image, at, 0);
    const [before, after] = images.map(image => {
        const canvas = new OffscreenCanvas(width, height);
        draw(image, 0, canvas);
        return new Uint32Array(
            canvas.getContext("2d").getImageData(0, 0, width, height).data.buffer);
    });
    const red = new ImageData(width, height), marks = new Uint32Array(red.data.buffer);
    let count = 0;
    for (let at = 0; at < marks.length; at++) {
        if (before[at] !== after[at]) { marks[at] = 0xff0000ff; count++; }
    }
    if (!count) return [0, ""];
    const shown = new OffscreenCanvas(3 * width, height);
    images.forEach((image, number) => draw(image, number * width, shown));
    shown.getContext("2d").putImageData(red, 2 * width, 0);
    const bytes = new Uint8Array(await (await shown.convertToBlob()).arrayBuffer());
    let said = "";
    for (const byte of bytes) said += String.fromCharCode(byte);
    return [count / marks.length, btoa(said)];
}"""


def compare(before: Path, after: Path, *, only: str = "") -> int:
    """Prints what differs; 1 if anything does. Nothing to compare is no success."""
    aside = after.with_name(f"{after.name}-differences")
    names = sorted(
        name
        for name in {*_names(before), *_names(after)}
        if re.search(only, str(name).partition("/")[0].partition(".")[0])
    )
    found = [*_differences(before, after, names, aside)]
    for line in found:
        print(line)
    print(f"{len(found)} of {len(names)} files differ" + (f": see {aside}" if found else ""))
    return 1 if found or not names else 0


def _names(folder: Path) -> Iterator[Path]:
    for pattern in ("*.html", "*/*.png"):
        yield from (path.relative_to(folder) for path in folder.glob(pattern))


def _differences(before: Path, after: Path, names: list[Path], aside: Path) -> Iterator[str]:
    with ExitStack() as stack:
        page: Page | None = None
        for name in names:
            pair = before / name, after / name
            if not all(path.exists() for path in pair):
                yield f"{name}: only in {before if pair[0].exists() else after}"
                continue
            old, new = (path.read_bytes() for path in pair)
            if old == new:
                continue
            target = aside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name.suffix == ".html":
                yield _html(name, old.decode(), new.decode(), target.with_suffix(".diff"))
                continue
            if page is None:
                folder = Path(stack.enter_context(TemporaryDirectory()))
                page = stack.enter_context(chromium(folder, None)).new_page()
            share, picture = share_of(page, old, new)
            if share:
                target.write_bytes(picture)
                yield f"{name}: {share:.4%} of the pixels"


def share_of(page: Page, old: bytes, new: bytes) -> tuple[float, bytes]:
    """Which part of the pixels differs, and the two pictures beside each other; b"" for none."""
    share, text = page.evaluate(COMPARE, [base64.b64encode(one).decode() for one in (old, new)])
    return float(share), base64.b64decode(text)


def _html(name: Path, old: str, new: str, target: Path) -> str:
    found = list(
        difflib.unified_diff(
            old.splitlines(), new.splitlines(), "before", "after", lineterm="", n=2
        )
    )
    target.write_text("\n".join(found) + "\n")
    left = len(found) - LINES
    more = [f"… and {left} more lines"] if left > 0 else []
    return "\n    ".join([f"{name}:", *found[:LINES], *more])
