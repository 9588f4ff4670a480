"""What is killed half-way is taken up by the worker at once; and pushes beside garbage collection.

A product of its own, whose garbage collection waits for a second instead of a day.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from registryui.registry import paths
from tests.selection import Extent
from tests.support.folders import open_folder
from tests.support.parts import REGISTRY
from tests.support.product import ROOT, Product, product
from tests.support.pushing import Client, attack, image, print_counts, untag, what_is_missing
from tests.support.registries import Registry
from tests.support.short_times import short_times
from tests.support.waiting import LONGEST, until

pytestmark = pytest.mark.e2e

GRACE, QUARANTINE = 0.2, 5.0  # seconds
RUNS = 5  # of an attack, in one process
AT_ONCE = 30.0  # seconds: less than any schedule, and than a run is taken for dead


@pytest.fixture(scope="module")
def quick() -> Iterator[Product]:
    with open_folder("e2e") as folder:
        settings = short_times(folder / "hook", grace=GRACE, quarantine=QUARANTINE)
        with product(folder / "data", "127.0.0.1", settings=settings) as made:
            yield made


@pytest.fixture
def served(quick: Product) -> Registry:
    """Its registry, past its proxy."""
    return Registry(quick.registry_url, quick.data / "registry")


def begin(one: Product, *arguments: str) -> subprocess.Popen[bytes]:
    """./boathouse at work."""
    return subprocess.Popen(
        [str(ROOT / "boathouse"), *arguments],
        env=one.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(LONGEST)


def runs_of(one: Product) -> list[dict[str, object]]:
    """The runs of garbage collection, as their rows say, the newest first."""
    script = (
        "import json; from registryui.models import Run; "
        "rows = Run.objects.filter(kind='gc').order_by('-id'); "
        "print(json.dumps([{'state': run.state, **run.result} for run in rows]))"
    )
    done = one.boathouse("manage", "shell", "-v", "0", "-c", script)
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_a_run_that_is_killed_before_its_review_is_taken_up_at_once(
    quick: Product, served: Registry
) -> None:
    """A push that had looked before is broken when it dies, and there is not a schedule."""
    for attempt in range(10):
        name = f"killed/n{attempt}"
        one = image(1000 + attempt, b"killed %d" % attempt, b"of killed %d" % attempt)
        assert Client(served).push(name, "1", one)
        assert Client(served).push(name, "kept", image(2000 + attempt, b"kept"))
        digest = served.get(name, "1").headers["docker-content-digest"]
        link = served.store / paths.tag_link(name, "late")
        quick.boathouse("sync")
        untag(served, name, "1")
        quick.boathouse("sync")
        time.sleep(5 * GRACE)  # no wait for something: things must grow old
        data = served.blob(digest)
        process = begin(quick, "gc")
        while data.exists() and process.poll() is None:
            time.sleep(0.0005)
        kill(process)
        began = time.monotonic()
        link.parent.mkdir(parents=True)
        link.write_text(digest)
        killed = next(run for run in runs_of(quick) if not run.get("is_review"))
        if process.returncode == -signal.SIGKILL and killed["reviewed"] is False:
            break
    else:
        raise AssertionError("it was never killed in time")
    until(lambda: not what_is_missing(served, name, "late"), "what was quarantined is back")
    assert time.monotonic() - began < AT_ONCE
    until(lambda: runs_of(quick)[0]["state"] == "done", "the review has ended")
    assert runs_of(quick)[0]["is_review"]
    doctor = json.loads(quick.boathouse("doctor", "--json", check=False).stdout)
    assert "unreviewed" not in json.dumps(doctor)


@pytest.mark.usefixtures("long_proof")
def test_what_is_pushed_beside_garbage_collection_is_complete_in_a_moment(
    quick: Product, served: Registry, extent: Extent
) -> None:
    """As in test_gc.py, but by the whole product: what pushes need that is just being quarantined
    comes back at once, because the registry tells of them."""
    pushes = extent(60, 2000)
    process = next(one for one in quick.processes() if one.name() == Path(REGISTRY).name[:15])
    kind = {"image_count": 24, "tag_count": 2}
    control = attack(served, pushes // 3, lambda: time.sleep(0.1), process=process, **kind)
    totals: Counter[str] = Counter()

    def work() -> None:
        """Some runs without a pause: a process of its own for each would start for seconds."""
        script = (
            "import json; from registryui.gc import collector; "
            f"print(json.dumps([collector.run_gc(by='test').result for _ in range({RUNS})]))"
        )
        done = quick.boathouse("manage", "shell", "-v", "0", "-c", script)
        for told in json.loads(done.stdout):
            assert not told["problem"], told
            totals["runs"] += 1
            for count in ("quarantined", "quarantined_manifests", "restored", "purged"):
                totals[count] += told[count]

    attacked = attack(served, pushes, work, process=process, **kind)
    work()
    print_counts("control", control)
    print_counts(f"attack {dict(totals)}", attacked)
    assert control.lasting == attacked.lasting == []
    assert attacked.counts["failed pushes"] == 0
    assert totals["quarantined"] > 0
    # How long it takes is a matter of the machine. What was seen:
    # docs/decisions/0007-garbage-collection.md
    assert max(attacked.healed, default=0.0) < AT_ONCE
    assert len(attacked.healed) <= pushes // 20
    broken = {key: what_is_missing(served, *key) for key in attacked.kept}
    assert {key: what for key, what in broken.items() if what} == {}
