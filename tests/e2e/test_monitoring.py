"""A real Prometheus reads the product with the lines of docs/operate.md, rules and dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from portal.variables import find_program
from tests.support.parts import free_port
from tests.support.product import ROOT, Product
from tests.support.waiting import LONGEST, until

pytestmark = pytest.mark.e2e

MONITORING = ROOT / "deploy" / "monitoring"


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its API."""
        with urllib.request.urlopen(
            f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=LONGEST
        ) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """Values of the labels but `instance` and `job` to the number."""
        return {
            tuple(
                value
                for name, value in sorted(one["metric"].items())
                if name not in ("__name__", "instance", "job")
            ): float(one["value"][1])
            for one in self.ask("query", query=expression)["result"]
        }


@pytest.fixture(scope="module")
def prometheus(boathouse: Product, folder: Path) -> Iterator[Prometheus]:
    """It reads the product every second."""
    program = find_program("prometheus")
    if not program:
        pytest.skip("prometheus is not installed.")
    own, port = folder / "prometheus", free_port()
    own.mkdir()
    shutil.copy(boathouse.data / "secrets" / "metrics-token", own / "boathouse-token")
    shutil.copy(boathouse.ca, own / "boathouse-ca.crt")
    shutil.copy(MONITORING / "boathouse.rules.yml", own)
    lines = documented().replace("registry.example.net:8443", boathouse.name)
    every = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}}
    (own / "prometheus.yml").write_text(yaml.safe_dump({**every, **yaml.safe_load(lines)}))
    command = [
        *(program, f"--config.file={own}/prometheus.yml", f"--storage.tsdb.path={own}/data"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
    ]
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        until(lambda: _is_read(found, process), (own / "log").read_text())
        yield found
    finally:
        process.terminate()
        process.wait(timeout=LONGEST)


def documented() -> str:
    """The lines to copy."""
    text = (ROOT / "docs" / "operate.md").read_text()
    (lines,) = re.findall(r"^```\n(rule_files:.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(lines)


def _is_read(prometheus: Prometheus, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        return prometheus.query("up") == {(): 1}
    except OSError:
        return False


def test_it_reads_the_parts_and_what_happens(boathouse: Product, prometheus: Prometheus) -> None:
    parts = set(boathouse.status()["parts"])
    up = until(lambda: prometheus.query("boathouse_part_up"), "it has read the parts")
    assert up == {(name,): 1 for name in parts - {"worker"}}
    until(
        lambda: prometheus.query("boathouse_check_state").get(("worker",)) == 0,
        "the worker has checked",
    )

    def refused() -> float:
        return prometheus.query("boathouse_requests_total").get(("registry", "401"), 0)

    before = refused()
    for _ in range(3):
        assert boathouse.ask("/v2/").status == 401
    until(lambda: refused() >= before + 3, "the requests are counted")


def test_rules_and_dashboard_work_on_what_it_has_read(
    boathouse: Product, prometheus: Prometheus
) -> None:
    token = (boathouse.data / "secrets" / "metrics-token").read_text().strip()
    text = boathouse.ask("/metrics", headers={"Authorization": f"Bearer {token}"}).body.decode()
    offered = set(re.findall(r"^# TYPE (boathouse_\w+) ", text, re.MULTILINE))
    files = ("boathouse.rules.yml", "dashboard.json")
    used = set(re.findall(r"boathouse_\w+", "".join((MONITORING / f).read_text() for f in files)))
    # Sizes are measured a moment after the start.
    assert used - offered <= {"boathouse_blobs_size_bytes"}

    def rules() -> list[Any]:
        found = [one for group in prometheus.ask("rules")["groups"] for one in group["rules"]]
        return found if all(one["health"] != "unknown" for one in found) else []

    assert {one["health"] for one in until(rules, "the rules were evaluated")} == {"ok"}
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$instance", ".+")
            assert prometheus.ask("query", query=expression)["resultType"] == "vector"


def test_nobody_reads_them_without_the_token(boathouse: Product) -> None:
    """A registry user's password is none, and does not reach the portal."""
    assert boathouse.ask("/metrics").status == 401
    assert boathouse.ask("/metrics", as_user=True).status == 401
    assert boathouse.ask("/metrics/registry").status == 404  # off by default
