"""./boathouse compare A B: what differs between two images of the index."""

import json
from dataclasses import asdict
from typing import Any

import humanize
from django.core.management.base import BaseCommand, CommandError, CommandParser

from registryui.index import comparison
from registryui.oci.compare import Comparison, LayerPair
from registryui.refused import Refused

_SIGNS = {"same": " ", "changed": "~", "added": "+", "gone": "-"}


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)
    help = "Compares two images of the index: layers, settings, steps and bytes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("left", metavar="A", help="repository:tag or repository@digest")
        parser.add_argument("right", metavar="B", help="as A; may be in another repository")
        parser.add_argument(
            "--platform", default="", help="platform of an image index: linux/arm64 …"
        )
        parser.add_argument("--platform-b", default="", help="platform of B, if different")
        parser.add_argument("--json", action="store_true", help="print JSON for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            one, other, found = comparison.both(
                (options["left"], options["right"]),
                (options["platform"], options["platform_b"]),
            )
        except Refused as error:
            raise CommandError(str(error)) from error
        for side, asked in ((one, options["platform"]), (other, options["platform_b"])):
            if asked and side.platform != asked:
                raise CommandError(f"{side.named} has no image for {asked}.")
        if options["json"]:
            self.stdout.write(json.dumps({**_facts(one, other), **_changes(found)}, indent=2))
        else:
            self._tell(found)

    def _tell(self, found: Comparison) -> None:
        self.stdout.write(
            f"{_bytes(found.difference, sign=True)}, {_bytes(found.shared_size)} in common, "
            f"{_bytes(found.download)} to download for an upgrade"
        )
        self.stdout.write(f"\nLAYERS  the first {found.shared_prefix} are identical")
        for pair in found.layers:
            side = pair.right or pair.left
            words = (side.made_by or side.digest)[:90] if side else ""
            self.stdout.write(
                f"{_SIGNS[pair.sign]} {_size(pair, 0):>9} {_size(pair, 1):>9}  {words}".rstrip()
            )
        self.stdout.write("\nSETTINGS")
        for one in found.settings:
            if one.sign != "same":
                name = f"{one.word} {one.key}".strip()
                self.stdout.write(f"{_SIGNS[one.sign]} {name}: {_line(one.left, one.right)}")
        if not found.changed_settings:
            self.stdout.write("  identical")
        self.stdout.write("\nDOCKERFILE")
        for step in found.steps:
            if step.sign != "same":
                self.stdout.write(f"{_SIGNS[step.sign]} {step.text}")
        if all(step.sign == "same" for step in found.steps):
            self.stdout.write("  identical")


def _line(left: str | None, right: str | None) -> str:
    if left is None or right is None:
        return (left or right or "").replace("\n", " ")
    return f"{left} -> {right}".replace("\n", " ")


def _size(pair: LayerPair, place: int) -> str:
    side = (pair.left, pair.right)[place]
    return _bytes(side.size) if side else "-"


def _bytes(size: int, *, sign: bool = False) -> str:
    mark = "+" if sign and size > 0 else ""
    return mark + humanize.naturalsize(size, format="%.1f")


def _facts(one: comparison.ComparisonSource, other: comparison.ComparisonSource) -> dict[str, Any]:
    return {
        name: {
            "reference": str(side.named),
            "digest": side.named.manifest.digest,
            "platform": side.platform or side.shown.platform,
            "image": side.shown.digest,
            "size": side.shown.size,
        }
        for name, side in (("a", one), ("b", other))
    }


def _changes(found: Comparison) -> dict[str, Any]:
    return {
        "difference": found.difference,
        "download": found.download,
        "shared_size": found.shared_size,
        "shared_prefix": found.shared_prefix,
        "layers": [asdict(pair) for pair in found.layers],
        "settings": [asdict(one) for one in found.settings],
        "steps": [asdict(step) for step in found.steps],
    }
