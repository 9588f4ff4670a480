"""How refusals become rows, whose number has a limit."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from registryui.denials.lines import Refusal, refusals
from registryui.denials.tally import MOST, MOST_OF_ONE, Key, tally

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINE = (
    '{"time":"2026-03-01T13:00:00+01:00","address":"10.0.0.5","user":"","uri":"/v2/",'
    '"agent":"docker/29","refused":"wrong-password","action":"open","repository":"",'
    '"claimed":"ci","stands_for":16}'
)


def refused(**given: object) -> Refusal:
    values = {
        "at": NOON,
        "actor": "ci",
        "repository": "team/app",
        "action": "push",
        "reason": "no-right",
        "address": "10.0.0.5",
        "client": "docker",
    }
    return Refusal(**{**values, **given})  # type: ignore[arg-type]


def test_a_line_is_read_as_nginx_writes_it() -> None:
    [one] = refusals(f"{LINE}\n".encode())
    assert one == Refusal(
        NOON, "ci", "", "login", "wrong-password", "10.0.0.5", "docker/29", count=16
    )


def test_lines_that_are_none_are_left_out() -> None:
    wrong = [
        "",
        'no json, but "refused":"no-right"',
        '["refused":"no-right"]',
        '{"refused":"no-right"}',
        LINE.replace("wrong-password", "because"),
        LINE.replace("open", ""),
        LINE.replace("+01:00", ""),
        LINE.replace("13:00:00", "25:00:00"),
        LINE.replace("16", '"many"'),
        LINE.replace('"docker/29"', "null"),
        LINE.replace("10.0.0.5", "127.0.0.1").replace("docker/29", "boathouse-doctor"),
        LINE.replace('"refused"', '"refusal"'),
        LINE[:-20],
    ]
    assert list(refusals("\n".join(wrong).encode())) == []
    assert len(list(refusals(("\n".join([*wrong, LINE]) + "\n").encode()))) == 1


def test_same_refusals_are_one_row_with_the_newest_client() -> None:
    later = NOON + timedelta(minutes=5)
    [(key, found)] = tally(
        [refused(), refused(at=later, client="podman"), refused(count=16)], []
    ).items()
    assert key == Key(NOON.date(), "ci", "team/app", "push", "no-right", "10.0.0.5")
    assert (found.count, found.first_at, found.at, found.client) == (18, NOON, later, "podman")


def test_a_flood_has_few_rows_and_leaves_room_for_others() -> None:
    flood = [
        refused(actor=actor, repository=f"r{number}", address=f"10.0.{number % 7}.1")
        for number in range(10_000)
        for actor in ("ci", "")
    ]
    found = tally([*flood, refused(reason="expired"), refused(actor="other")], [])
    assert sum(one.count for one in found.values()) == 20_002
    assert len(found) == 2 * (MOST_OF_ONE + 1) + 2
    others = found[Key(NOON.date(), "ci", "", "", "no-right", "")]
    assert others.count == 10_000 - MOST_OF_ONE


def test_a_day_has_a_limit_over_all_batches() -> None:
    known: set[Key] = set()
    total = 0
    for batch in range(20):
        some = [
            refused(actor=f"user-{batch}-{number}", repository=f"r{one}")
            for number in range(20)
            for one in range(10)
        ]
        found = tally(some, known)
        total += sum(one.count for one in found.values())
        known |= found.keys()
    assert total == 20 * 200
    reasons = Counter(key.reason for key in known)
    assert MOST <= len(known) <= MOST + len(reasons)
    assert Key(NOON.date(), "", "", "", "no-right", "") in known
    # Another day has rows of its own.
    assert len(tally([refused(at=NOON + timedelta(days=1))], known)) == 1
