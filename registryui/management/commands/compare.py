"""./boathouse compare A B: what differs between two images of the index."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from registryui import formats
from registryui.index import comparison
from registryui.management.command import BoathouseCommand, add_json
from registryui.oci.compare import Comparison, LayerPair

_SIGNS = {"same": " ", "changed": "~", "added": "+", "gone": "-"}


class Command(BoathouseCommand):
    help = "Compares two images of the index: layers, settings, steps and bytes."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("left", metavar="A", help="repository:tag or repository@digest")
        parser.add_argument("right", metavar="B", help="as A; may be in another repository")
        parser.add_argument(
            "--platform", default="", help="platform of an image index: linux/arm64 …"
        )
        parser.add_argument("--platform-b", default="", help="platform of B, if different")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        one, other, found = comparison.both(
            (options["left"], options["right"]), (options["platform"], options["platform_b"])
        )
        for side, asked in ((one, options["platform"]), (other, options["platform_b"])):
            if asked and side.platform != asked:
                raise CommandError(f"{side.named} has no image for {asked}.")
        self.say({**_facts(one, other), **_changes(found)}, *_lines(found))


def _lines(found: Comparison) -> Iterator[str]:
    yield (
        f"{formats.difference(found.difference)}, {formats.size(found.shared_size)} in common, "
        f"{formats.size(found.download)} to download for an upgrade"
    )
    yield f"\nLAYERS  the first {found.shared_prefix} are identical"
    for pair in found.layers:
        side = pair.right or pair.left
        words = (side.made_by or side.digest)[:90] if side else ""
        yield f"{_SIGNS[pair.sign]} {_size(pair, 0):>9} {_size(pair, 1):>9}  {words}".rstrip()
    yield "\nSETTINGS"
    for one in found.settings:
        if one.sign != "same":
            name = f"{one.word} {one.key}".strip()
            yield f"{_SIGNS[one.sign]} {name}: {_line(one.left, one.right)}"
    if not found.changed_settings:
        yield "  identical"
    yield "\nDOCKERFILE"
    changed = [step for step in found.steps if step.sign != "same"]
    yield from (f"{_SIGNS[step.sign]} {step.text}" for step in changed)
    if not changed:
        yield "  identical"


def _line(left: str | None, right: str | None) -> str:
    if left is None or right is None:
        return (left or right or "").replace("\n", " ")
    return f"{left} -> {right}".replace("\n", " ")


def _size(pair: LayerPair, place: int) -> str:
    side = (pair.left, pair.right)[place]
    return formats.size(side.size) if side else "-"


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
