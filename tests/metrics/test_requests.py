"""Requests are counted from the log that nginx writes: each once, whatever is in it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from registryui.metrics import requests

HOSTILE = (
    '/v2/a"b',
    '/x","status":500,"y":"',
    '\\","method":"GET","uri":"/v2/","status":500,"bytes":0',
    "/v2/\\",
)


@pytest.fixture
def log(tmp_path: Path, settings: Settings) -> Path:
    for name in ("run", "log"):
        (tmp_path / name).mkdir()
    settings.RUN_DIR, settings.LOG_DIR = tmp_path / "run", tmp_path / "log"
    return tmp_path / "log" / "access.json"


def line(uri: str, status: int, agent: str = "docker") -> str:
    """As nginx writes it; its escape=json is JSON's."""
    row = {"time": "t", "address": "a", "user": "u", "method": "GET", "uri": uri, "status": status}
    return json.dumps({**row, "bytes": 1, "agent": agent}, separators=(",", ":")) + "\n"


def add(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.write("".join(lines))


def test_each_line_counts_once_however_often_it_is_asked(log: Path) -> None:
    add(log, line("/v2/", 401), line("/v2/a/manifests/1", 200), line("/", 302))
    wanted = Counter({("registry", "401"): 1, ("registry", "200"): 1, ("portal", "302"): 1})
    assert requests.counted() == wanted
    assert requests.counted() == wanted
    whole = line("/v1/search", 200)
    add(log, whole[:40])  # nginx is writing it
    assert requests.counted() == wanted
    add(log, whole[40:])
    assert requests.counted() == wanted + Counter({("registry", "200"): 1})


def test_a_rotated_log_is_read_to_its_end_and_then_the_new_one(log: Path) -> None:
    add(log, line("/v2/", 200))
    requests.counted()
    add(log, line("/v2/", 200))
    log.rename(log.with_name("access.json.20260131-031700"))
    add(log.with_name("access.json.20260131-031700"), line("/v2/", 200))
    assert requests.counted()["registry", "200"] == 3  # there is no new one yet
    add(log, line("/v2/", 200))
    log.rename(log.with_name("access.json.20260201-031700"))
    add(log, line("/v2/", 200))
    assert requests.counted()["registry", "200"] == 5
    for old in log.parent.glob("access.json.*"):
        old.unlink()
    add(log, line("/v2/", 200))
    assert requests.counted()["registry", "200"] == 6


def test_a_removed_or_emptied_log_and_a_damaged_state_begin_anew(log: Path) -> None:
    assert requests.counted() == Counter()  # no log yet
    add(log, line("/v2/", 200), line("/v2/", 200))
    assert requests.counted()["registry", "200"] == 2
    log.write_text("")
    add(log, line("/v2/", 200))
    assert requests.counted()["registry", "200"] == 3
    requests.state_file().write_text('{"inode": 1,')
    assert requests.counted()["registry", "200"] == 1


def test_what_clients_send_cannot_count_as_another_request(log: Path) -> None:
    for text in HOSTILE:
        add(log, line(text, 404, agent=text))
    found = requests.counted()
    assert sum(found.values()) == len(HOSTILE)
    assert {code for _api, code in found} == {"404"}


def test_a_long_log_is_read_in_pieces_and_over_several_scrapes(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "BLOCK", 1000)
    monkeypatch.setattr(requests, "MOST_BYTES", 3000)
    add(log, *(line("/v2/", 200) for _ in range(100)))
    seen = [requests.counted()["registry", "200"] for _ in range(9)]
    assert 0 < seen[0] < 40
    assert seen == sorted(seen)
    assert seen[-1] == 100
