"""A setting that cannot be is one sentence, whatever the command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from portal import variables

# Variable, value, a part of the sentence.
REFUSED = [
    ("BOATHOUSE_PORT", "abc", "whole number, such as 8443"),
    ("BOATHOUSE_PORT", "0", "between 1 and 65535"),
    ("BOATHOUSE_PORT", "70000", "between 1 and 65535"),
    ("BOATHOUSE_PORT", "8_443", "whole number"),
    ("BOATHOUSE_PORT", "٨٤٤٣", "whole number"),
    ("BOATHOUSE_HTTP_PORT", "-1", "between 1 and 65535"),
    ("BOATHOUSE_ANONYMOUS_PORT", "8444/tcp", "whole number"),
    ("BOATHOUSE_REGISTRY_PORT", "5000.0", "whole number"),
    ("BOATHOUSE_HOOK_PORT", "x", "whole number"),
    ("BOATHOUSE_SYNC_MINUTES", "15m", "whole number of minutes, such as 15"),
    ("BOATHOUSE_SYNC_MINUTES", "0", "at least 1 minutes"),
    ("BOATHOUSE_UNDO_DAYS", "0", "between 1 and 3650 days"),
    ("BOATHOUSE_UNDO_DAYS", "7 days", "whole number of days, such as 7"),
    ("BOATHOUSE_EXPIRE_BY_LABEL", "true", "one of on, off"),
    ("BOATHOUSE_AUDIT_DAYS", "30", "between 31 and 36500 days"),
    ("BOATHOUSE_GC_GRACE_HOURS", "0", "between 1 and 87600 hours"),
    ("BOATHOUSE_QUARANTINE_HOURS", "1d", "whole number of hours, such as 24"),
    ("BOATHOUSE_UPLOAD_HOURS", "23", "between 24 and 87600 hours"),
    ("BOATHOUSE_GC_SCHEDULE", "never", "cron's five fields"),
    ("BOATHOUSE_INTEGRITY_SCHEDULE", "61 * * * *", "cron's five fields"),
    ("BOATHOUSE_BACKUP_SCHEDULE", "nightly", "cron's five fields"),
    ("BOATHOUSE_BACKUP_KEEP_DAYS", "-1", "between 1 and 36500 days"),
    ("BOATHOUSE_BACKUP_ENDPOINT", "u:geheim@s3.example", "such as https://objects.example.net"),
    ("BOATHOUSE_SMTP_PORT", "smtp", "whole number"),
    ("BOATHOUSE_SMTP_TLS", "ssl", "one of starttls, tls, off"),
    ("BOATHOUSE_NOTIFY_LOOPBACK", "yes", "one of on, off"),
    ("BOATHOUSE_NOTIFY_DAYS", "0", "between 1 and 3650 days"),
    ("BOATHOUSE_METRICS", "yes", "one of on, off"),
    ("BOATHOUSE_METRICS_NETWORKS", "prometheus.example", "an address or a network"),
    ("BOATHOUSE_METRICS_NETWORKS", "0.0.0.0/0", "anybody could read the metrics"),
    ("BOATHOUSE_METRICS_REGISTRY_PORT", "debug", "whole number"),
    ("BOATHOUSE_TIME_ZONE", "Mars", "no time zone"),
    ("BOATHOUSE_TIME_ZONE", "../../etc/passwd", "no time zone"),
    ("BOATHOUSE_SOURCE", "disk", "one of auto, store, http"),
    ("BOATHOUSE_HOST", "my_registry.example", "letters, digits and hyphens"),
    ("BOATHOUSE_HOST", "-x.example", "letters, digits and hyphens"),
    ("BOATHOUSE_HOST", "a..b", "letters, digits and hyphens"),
    ("BOATHOUSE_HOST", "::1", "in brackets: [::1]"),
    ("BOATHOUSE_HOST", "Registry.example.net", "small letters: registry.example.net"),
    ("BOATHOUSE_HOST", "münchen.example", "ASCII: xn--mnchen-3ya.example"),
    ("BOATHOUSE_HOST", "https://registry.example.net", "without https://"),
    ("BOATHOUSE_HOST", "registry.example.net:5000", "BOATHOUSE_PORT"),
    ("BOATHOUSE_NAMES", "hub.example.net,a_b", "'a_b'"),
    ("BOATHOUSE_BIND", "eth0", "such as 0.0.0.0"),
    ("BOATHOUSE_BIND", "::", "such as 0.0.0.0 or [::]"),
    ("BOATHOUSE_PUBLIC_URL", "http://registry.example.net", "must be https://"),
    ("BOATHOUSE_PUBLIC_URL", "https://registry.example.net/hub", "must be https://"),
    ("BOATHOUSE_PUBLIC_URL", "https://user@registry.example.net", "must be https://"),
    ("BOATHOUSE_PUBLIC_URL", "https://a_b.example", "letters, digits and hyphens"),
    ("BOATHOUSE_PUBLIC_URL", "https://a.example:99999", "must be https://"),
    ("BOATHOUSE_TRUSTED_PROXIES", "10.0.0.7,proxy.example", "'proxy.example' must be an address"),
    ("BOATHOUSE_TRUSTED_PROXIES", "10.0.0.7/8", "an address or a network"),
    ("BOATHOUSE_TRUSTED_PROXIES", "10.0.0.7,0.0.0.0/0", "includes every address"),
    ("BOATHOUSE_TRUSTED_PROXIES", "0.0.0.0/1, 128.0.0.0/1", "includes every address"),
    ("BOATHOUSE_TRUSTED_PROXIES", "::/0", "includes every address"),
    ("BOATHOUSE_PROXY_PORT", "http", "whole number"),
    ("BOATHOUSE_PROXY_PROTOCOL", "yes", "one of on, off"),
    ("BOATHOUSE_HSTS", "0", "one of on, off"),
    ("BOATHOUSE_DEVELOPER_PAGES", "yes", "one of on, off"),
    ("BOATHOUSE_FLOOR_MB", "1GB", "whole number of megabytes, such as 500"),
    ("BOATHOUSE_RESERVE_MB", "-1", "at least 0 megabytes"),
    ("BOATHOUSE_LOG_MB", "0", "at least 1 megabytes"),
    ("BOATHOUSE_LOG_DAYS", "x", "whole number of days"),
    ("BOATHOUSE_REQUESTS_PER_SECOND", "0", "between 1 and"),
    ("BOATHOUSE_CONNECTIONS_PER_ADDRESS", "0", "between 1 and"),
    ("BOATHOUSE_ANONYMOUS_PULL", "public/*,../x", "'../x' must be *, a namespace"),
    ("BOATHOUSE_ANONYMOUS_PULL", "a/b/c/d/e/f/g/h/i/*", "at most 8 parts"),
    ("BOATHOUSE_REGISTRY_PROGRAM", "/no/such/registry", "not a program that this user can run"),
    ("BOATHOUSE_REGISTRY_PROGRAM", "/etc/passwd", "not a program that this user can run"),
    ("BOATHOUSE_STORAGE", "s3:/x", "must be like s3://bucket/prefix"),
    ("BOATHOUSE_STORAGE", "s3://[x", "must be like s3://bucket/prefix"),
    ("BOATHOUSE_STORAGE", "s3:key:geheim@images", "must be like s3://bucket/prefix"),
    ("BOATHOUSE_STORAGE", "disk", "must be filesystem"),
    ("BOATHOUSE_STORAGE", "/", "the path of a folder"),
    ("BOATHOUSE_STORAGE", "var/lib/registry", "the path of a folder"),
    ("BOATHOUSE_STORAGE", "oss://images", "no such driver"),
    ("BOATHOUSE_STORAGE", "s3://key:geheim@images", "BOATHOUSE_STORAGE_SECRET"),
    ("BOATHOUSE_STORAGE_ENDPOINT", "u:geheim@s3.example", "such as https://objects.example.net"),
    ("BOATHOUSE_STORAGE_ENDPOINT", "https://u:geheim@s3.example", "BOATHOUSE_STORAGE_SECRET"),
    ("DATABASE_URL", "mysql://u:p@h/n", "postgresql://user:password@host/name"),
    ("DATABASE_URL", "postgresql://u:p#w@h/n", "as %XX"),
    ("DATABASE_URL", "nonsense", "postgresql://user:password@host/name"),
]
# Any text may be right; what is done with it says what is wrong with it.
FREE = {
    "BOATHOUSE_DATA",
    "BOATHOUSE_BACKUP_TO",
    "BOATHOUSE_BACKUP_PASSWORD_FILE",
    "BOATHOUSE_BACKUP_REGION",
    "BOATHOUSE_BACKUP_KEY",
    "BOATHOUSE_BACKUP_SECRET",
    "BOATHOUSE_BACKUP_SECRET_FILE",
    "BOATHOUSE_SMTP_HOST",
    "BOATHOUSE_SMTP_USER",
    "BOATHOUSE_SMTP_PASSWORD",
    "BOATHOUSE_SMTP_PASSWORD_FILE",
    "BOATHOUSE_MAIL_FROM",
    "BOATHOUSE_STORAGE_REGION",
    "BOATHOUSE_STORAGE_KEY",
    "BOATHOUSE_STORAGE_SECRET",
    "BOATHOUSE_STORAGE_SECRET_FILE",
    "BOATHOUSE_TLS_CERTIFICATE",
    "BOATHOUSE_TLS_KEY",
}
ACCEPTED = [
    {"BOATHOUSE_HOST": "registry.example.net", "BOATHOUSE_PORT": "443"},
    {"BOATHOUSE_HOST": "[fd00::1]", "BOATHOUSE_NAMES": "fd00::2, *.example.net,10.0.0.1"},
    {"BOATHOUSE_HOST": "hub", "BOATHOUSE_BIND": "127.0.0.1,[::1]", "BOATHOUSE_AUDIT_DAYS": "0"},
    {"BOATHOUSE_PUBLIC_URL": "https://[fd00::1]:8443/", "BOATHOUSE_TRUSTED_PROXIES": "::1"},
    {"BOATHOUSE_TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8", "BOATHOUSE_ANONYMOUS_PULL": "a/b, c/*  *"},
    {"BOATHOUSE_STORAGE": "s3://images/deep/prefix", "BOATHOUSE_REGISTRY_PROGRAM": "nginx"},
    {"BOATHOUSE_STORAGE": "swift://a.b", "BOATHOUSE_STORAGE_ENDPOINT": "https://[::1]:5000/v3"},
    {"BOATHOUSE_STORAGE": "/var/lib/registry/"},
    {"BOATHOUSE_GC_SCHEDULE": "", "BOATHOUSE_TIME_ZONE": "Asia/Shanghai"},
]
SHOW = "from django.conf import settings; settings.INSTALLED_APPS; print('read')"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOATHOUSE_")}
    kept.pop("DATABASE_URL", None)
    return subprocess.run(
        [sys.executable, *words],
        cwd=settings.BASE_DIR,
        env={**kept, "DJANGO_SETTINGS_MODULE": "portal.settings", **environment},
        capture_output=True,
        text=True,
    )


def test_each_bad_value_is_one_sentence_that_names_its_variable(subtests: pytest.Subtests) -> None:
    script = (
        "import importlib, json, os, sys\nfrom django.core.exceptions import ImproperlyConfigured\n"
        "said = []\nfor name, value in json.loads(sys.argv[1]):\n    os.environ[name] = value\n    "
        "try:\n        importlib.reload(importlib.import_module('portal.settings'))\n        "
        "said.append('')\n    except ImproperlyConfigured as error:\n        "
        "said.append(str(error))\n    del os.environ[name]\nprint(json.dumps(said))\n"
    )
    done = run("-c", script, json.dumps([row[:2] for row in REFUSED]))
    assert done.returncode == 0, done.stderr
    for (name, value, part), said in zip(REFUSED, json.loads(done.stdout), strict=True):
        with subtests.test(f"{name}={value}"):
            assert said.startswith(name)
            assert part in said
            assert said.endswith(".")
            assert "\n" not in said
            if name == "DATABASE_URL" or "geheim" in value:
                assert value not in said
                assert "geheim" not in said


@pytest.mark.parametrize("environment", ACCEPTED)
def test_what_can_be_is_taken(environment: dict[str, str]) -> None:
    assert run("-c", SHOW, **environment).stdout == "read\n"


def test_child_processes_find_the_registry_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry").write_text("#!/bin/sh\n")
    (tmp_path / "registry").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOATHOUSE_REGISTRY_PROGRAM", "./registry")
    assert variables.program("BOATHOUSE_REGISTRY_PROGRAM") == str(tmp_path / "registry")
    assert os.environ["BOATHOUSE_REGISTRY_PROGRAM"] == str(tmp_path / "registry")


def test_a_host_without_a_dot_needs_a_port_in_references(subtests: pytest.Subtests) -> None:
    """registry/team/app would be an image of Docker Hub's."""
    for host, port, name in [
        ("hub", 8443, "hub:8443"),
        ("localhost", 443, "localhost"),
        ("a.example", 443, "a.example"),
        ("[::1]", 443, "[::1]"),
    ]:
        with subtests.test(host):
            assert variables.registry_name(host, port) == name
    with pytest.raises(variables.ImproperlyConfigured, match="Docker Hub"):
        variables.registry_name("hub", 443)


def test_every_command_says_it_the_same_way() -> None:
    for command in ("list", "up", "status", "user", "units"):
        done = run("manage.py", command, BOATHOUSE_PORT="abc")
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr == "boathouse: BOATHOUSE_PORT='abc' must be a whole number, such as 8443.\n"
        )
    done = run("manage.py", "status", "--json", BOATHOUSE_PORT="abc")
    assert "BOATHOUSE_PORT" in json.loads(done.stdout)["error"]
    assert done.stderr == ""


def test_every_variable_is_checked_or_free_text_and_is_documented() -> None:
    text = (settings.BASE_DIR / "portal" / "settings.py").read_text()
    read = set(re.findall(r'\(\s*"((?:BOATHOUSE_|DATABASE_)[A-Z_]+)"', text))
    assert read - FREE == {row[0] for row in REFUSED}
    table = (settings.BASE_DIR / "docs" / "install.md").read_text()
    assert {name for name in read if f"`{name}`" not in table} == set()


def test_an_old_name_counts_unless_the_new_one_is_set_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOATHOUSE_COLLECT_SCHEDULE", "")
    monkeypatch.setenv("BOATHOUSE_COLLECT_GRACE_HOURS", "48")
    monkeypatch.setenv("BOATHOUSE_GC_GRACE_HOURS", "72")
    variables.accept_old_names()
    assert os.environ["BOATHOUSE_GC_SCHEDULE"] == ""
    assert os.environ["BOATHOUSE_GC_GRACE_HOURS"] == "72"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "BOATHOUSE_COLLECT_SCHEDULE is now called BOATHOUSE_GC_SCHEDULE" in said[1]
    variables.accept_old_names()
    assert capsys.readouterr().err == ""
