"""python -m tests.screens FOLDER                      makes pictures and HTML of all pages
python -m tests.screens --compare BEFORE AFTER      says what differs; exit status 1 if anything
python -m tests.screens --readme                    takes the pictures of the README, into docs/

The differences are put beside AFTER, in AFTER-differences.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The pictures of the README, and of which pages.
README = {"tag": "tag-layers", "delete": "delete", "users": "users", "mirror": "mirror"}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.screens",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"))
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("--only", default="", help="a regular expression: pages whose name has it")
    parser.add_argument("--no-pictures", action="store_true", help="HTML alone: some seconds")
    parser.add_argument("--all", action="store_true", help="each state in every width and theme")
    asked = parser.parse_args()
    if asked.compare:
        from .compare import compare

        return compare(*asked.compare, only=asked.only)
    if asked.readme:
        with tempfile.TemporaryDirectory() as folder:
            asked.folder, asked.only = Path(folder), f"^({'|'.join(README.values())})$"
            make(asked)
            for name, page in README.items():
                shutil.copy(asked.folder / page / "1300-light.png", f"docs/{name}.png")
        return 0
    if not asked.folder:
        parser.error("name a folder")
    return make(asked)


def make(asked: argparse.Namespace) -> int:
    """Fills a portal of its own; a setting of this shell's changes no page."""
    for name in list(os.environ):
        if name.startswith("BOATHOUSE_") or name in ("DATABASE_URL", "TZ"):
            del os.environ[name]
    os.environ["BOATHOUSE_HOST"] = "registry.example.net"
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    for source in Path().glob("portal/locale/*/LC_MESSAGES/*.po"):  # as `./boathouse` does
        subprocess.run(["msgfmt", "-o", source.with_suffix(".mo"), source], check=True)
    import django

    django.setup()
    logging.disable()
    from .pictures import take
    from .render import render_all

    began = time.monotonic()
    shown = render_all(asked.folder, only=asked.only)
    print(f"{len(shown)} pages rendered in {time.monotonic() - began:.0f} s", file=sys.stderr)
    if not asked.no_pictures:
        count = take(asked.folder, shown, is_all=asked.all)
        print(f"{count} pictures after {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


sys.exit(main())
