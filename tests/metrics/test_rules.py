"""The alert rules, by Prometheus's own checks: each fires when it should, none without cause."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from portal.variables import find_program
from tests.support.waiting import LONGEST

RULES = settings.BASE_DIR / "deploy" / "monitoring" / "boathouse.rules.yml"
PROMTOOL = find_program("promtool")
LAST = 90  # minutes: as long as an alert waits, and more
DAY = 86400
# Series to their values for each minute; the time of these tests begins at the epoch.
WELL = {
    'up{job="boathouse",instance="r"}': "1x90",
    'boathouse_part_up{part="registry",instance="r"}': "1x90",
    'boathouse_checked_timestamp_seconds{instance="r"}': "0+60x90",
    'boathouse_check_state{check="disk",instance="r"}': "0x90",
    'boathouse_disk_free_bytes{disk="data",instance="r"}': "40e9x90",
    'boathouse_disk_total_bytes{disk="data",instance="r"}': "100e9x90",
    'boathouse_certificate_expiry_timestamp_seconds{certificate="server",instance="r"}': "9e6x90",
    'boathouse_backup_timestamp_seconds{instance="r"}': "0x90",
    'boathouse_job_failed{kind="backup",instance="r"}': "0x90",
    'boathouse_events_oldest_timestamp_seconds{instance="r"}': "0+60x90",
    'boathouse_requests_total{api="registry",code="200",instance="r"}': "0+6000x90",
    'boathouse_requests_total{api="registry",code="401",instance="r"}': "0+6000x90",
    'boathouse_requests_total{api="registry",code="503",instance="r"}': "0+60x90",
    'boathouse_scrape_failed{topic="gc",instance="r"}': "_x90",
}
# Alert: what its series begin with, and their values then.
FIRING = {
    "BoathouseDown": ("up", "0x90"),
    "BoathousePartDown": ("boathouse_part_up", "0x90"),
    "BoathouseWorkerSilent": ("boathouse_checked_timestamp_seconds", "600x90"),
    "BoathouseCheckCritical": ("boathouse_check_state", "2x90"),
    "BoathouseCheckWarning": ("boathouse_check_state", "1x90"),
    "BoathouseDiskLow": ("boathouse_disk_free_bytes", "9e9x90"),
    "BoathouseDiskFullSoon": ("boathouse_disk_free_bytes", "45e9-50e6x90"),
    "BoathouseCertificateExpires": (
        "boathouse_certificate_expiry_timestamp_seconds",
        f"{10 * DAY}x90",
    ),
    "BoathouseBackupOld": ("boathouse_backup_timestamp_seconds", f"{-3 * DAY}x90"),
    "BoathouseJobFailed": ("boathouse_job_failed", "1x90"),
    "BoathouseEventsLate": ("boathouse_events_oldest_timestamp_seconds", "60x90"),
    "BoathouseErrors": ('boathouse_requests_total{api="registry",code="503"', "0+2000x90"),
    "BoathouseRefusals": ('boathouse_requests_total{api="registry",code="401"', "403"),
    "BoathouseMetricsIncomplete": ("boathouse_scrape_failed", "1x90"),
}


@pytest.fixture(autouse=True)
def _needs_promtool() -> None:
    if not PROMTOOL:
        pytest.skip("promtool is not installed.")


def series(alert: str = "") -> dict[str, str]:
    """All is well, but for what that alert is about."""
    name, values = FIRING.get(alert, ("-", ""))
    if values == "403":  # the same requests with another result
        return {key.replace('"401"', '"403"'): value for key, value in WELL.items()}
    return {key: values if key.startswith(name) else value for key, value in WELL.items()}


def promtool(*words: str) -> str:
    done = subprocess.run(
        [PROMTOOL, *words], capture_output=True, text=True, timeout=LONGEST, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def test_the_rules_are_valid_and_each_says_what_to_do() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))
    for rule in rules():
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_each_alert_fires_when_it_should_and_none_when_all_is_well(tmp_path: Path) -> None:
    names = [rule["alert"] for rule in rules()]
    assert sorted(names) == sorted(FIRING)
    query = 'count(ALERTS{alertstate="firing"}) by (alertname)'
    cases = []
    for alert in ("", *names):
        given = [{"series": key, "values": value} for key, value in series(alert).items()]
        wanted = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
        test = {"expr": query, "eval_time": f"{LAST}m", "exp_samples": wanted}
        cases.append(
            {"interval": "1m", "name": alert, "input_series": given, "promql_expr_test": [test]}
        )
    file = tmp_path / "test.yml"
    content = {"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": cases}
    file.write_text(json.dumps(content))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_the_dashboard_has_a_panel_for_every_metric_that_people_look_at() -> None:
    dashboard = json.loads((RULES.parent / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    shown = set(re.findall(r"boathouse_\w+", json.dumps(panels)))
    assert {"boathouse_part_up", "boathouse_requests_total", "boathouse_disk_free_bytes"} <= shown
