"""What all commands have in common, seen from the shell's side."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import DatabaseError

from registryui import hosts
from registryui.management.command import BoathouseCommand, from_caller
from registryui.refused import Refused

ROOT = Path(__file__).resolve().parents[1]
OURS = sorted(name for name, app in get_commands().items() if app == "registryui")


def test_every_command_is_of_the_one_class() -> None:
    for name in OURS:
        assert isinstance(load_command_class("registryui", name), BoathouseCommand), name


@pytest.mark.parametrize("command", ["gc", "integrity", "sync", "demo"])
def test_lines_of_the_log_are_printed_only_if_they_are_asked_for(
    command: str, tmp_path: Path
) -> None:
    script = (
        "import logging, sys, django; django.setup()\n"
        "from django.core.management import load_command_class\n"
        "command = load_command_class('registryui', sys.argv[1])\n"
        "command.handle = lambda **_: logging.getLogger('registryui').warning('a line')\n"
        "command.run_from_argv(['boathouse', *sys.argv[1:]])\n"
    )
    environment = os.environ | {"BOATHOUSE_DATA": str(tmp_path)}
    printed = [
        subprocess.run(
            [sys.executable, "-c", script, command, *words],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stderr
        for words in ([], ["-v", "2"])
    ]
    assert printed == ["", "WARNING registryui a line\n"]


def test_the_start_of_a_command_imports_nothing_that_takes_long_and_is_not_needed(
    tmp_path: Path,
) -> None:
    """As root, all up to the settings is done twice: it begins anew as the data folder's user."""
    script = (
        "import sys, portal.manage, django\n"
        "from django.conf import settings; settings.DATA\n"
        "known = lambda: {one for one in sys.argv[1:] if one in sys.modules}\n"
        "print(*sorted(known()))\n"
        "django.setup()\n"
        "from django.core.management import load_command_class\n"
        "load_command_class('registryui', 'import')\n"
        "print(*sorted(known()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "cryptography", "django.db.models", "psycopg", "requests"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BOATHOUSE_DATA": str(tmp_path)}
        | {"DJANGO_SETTINGS_MODULE": "portal.settings"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "\ndjango.db.models requests\n"


FILES = [
    (("import", "v1", "{}", "--index", "{}"), ("folder", "index")),
    (("import", "archive", "{}"), ("files",)),
    (("import", "htpasswd", "{}"), ("file",)),
    (("export", "-", "--since", "{}"), ("since",)),
    (("backup", "--password-file", "{}"), ("password_file",)),
    (("restore", "{}", "--to", "{}", "--password-file", "{}"), ("target", "to", "password_file")),
    (("units", "{}"), ("folder",)),
]


@pytest.mark.parametrize(("words", "names"), FILES)
def test_relative_files_are_those_of_the_caller(
    words: tuple[str, ...], names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryui.management.command._CALLED_IN", "/srv/caller")
    command = load_command_class("registryui", words[0])
    parser = command.create_parser("boathouse", words[0])
    for given, meant in [("a/b", "/srv/caller/a/b"), ("/x", "/x"), ("../c", "/srv/caller/../c")]:
        options = vars(parser.parse_args([one.format(given) for one in words[1:]]))
        found = [options[name] for name in names]
        assert [str(one[0] if isinstance(one, list) else one) for one in found] == [meant] * len(
            names
        )


def test_so_is_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registryui.management.command._CALLED_IN", str(settings.DATA))
    with pytest.raises(CommandError, match=f"{settings.DATA}/there lies in the data folder"):
        call_command("backup", "list", "there")
    with pytest.raises(CommandError, match=f"{settings.DATA}/none/x is a folder, or below"):
        call_command("export", "settings", "none/x")


def test_standard_input_and_buckets_are_no_files_of_the_caller() -> None:
    assert [from_caller(one) for one in ("", "-", "s3://a/b")] == ["", "-", "s3://a/b"]


ENDS = [
    (Refused("No host is called so."), "No host is called so."),
    (DatabaseError("odd\nsecond line"), "The database is unavailable (odd)."),
    (PermissionError(13, "Permission denied", "x"), "run it as the user that runs ./boathouse."),
]


@pytest.mark.parametrize(("error", "words"), ENDS)
def test_an_error_is_one_sentence_for_people_and_programs(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(_name: str) -> Any:
        raise error

    monkeypatch.setattr(hosts, "forget", raises)
    printed = io.StringIO()
    with pytest.raises(CommandError) as ended:
        call_command("hosts", "--forget", "x", "--json", stdout=printed)
    assert words in str(ended.value)
    assert ended.value.returncode == 1
    assert json.loads(printed.getvalue()) == {"error": str(ended.value)}


def test_at_a_shell_it_is_on_stderr_and_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises(_name: str) -> Any:
        raise Refused("No host is called so.")

    monkeypatch.setattr(hosts, "forget", raises)
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)
    monkeypatch.setattr("logging.disable", lambda _level: None)
    with pytest.raises(SystemExit) as ended:
        load_command_class("registryui", "hosts").run_from_argv(
            ["boathouse", "hosts", "--forget", "x"]
        )
    assert ended.value.code == 1
    assert capsys.readouterr().err == "boathouse: No host is called so.\n"
