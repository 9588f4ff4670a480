"""What the shell's side of commands says: help, suggestions, completion, -v."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class

from registryui.management import parser
from registryui.management.commands import completion
from registryui.models import Operator, RegistryUser, Role
from tests.support.factories import make_operator

DJANGOS = ("--settings", "--pythonpath", "--traceback", "--no-color", "--version", "--skip-checks")


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a command that does not come as far as its work."""
    command = load_command_class("registryui", words[0])
    command._called_from_command_line = True
    made = command.create_parser("boathouse", words[0])
    with pytest.raises(SystemExit) as ended:
        made.parse_args(parser.with_verbosity(words[1:]))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_help_speaks_of_boathouse_and_of_our_options_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in completion.command_names():
        code, said, _ = typed(capsys, name, "--help")
        assert code == 0
        assert said.startswith(f"usage: ./boathouse {name}"), name
        assert not [word for word in DJANGOS if word in said], name
    _, said, _ = typed(capsys, "user", "add", "--help")
    assert said.startswith("usage: ./boathouse user add")


MISTYPED = [
    (("restart", "rgistry"), "There is no part 'rgistry'; did you mean registry?"),
    (("logs", "--folow"), "Unknown argument: --folow; did you mean --follow?"),
    (("user", "lsit"), "There is no act 'lsit'; did you mean list?"),
    (("user", "add"), "The following arguments are required: NAME."),
    (("operator", "role", "a", "vewer"), "did you mean viewer?"),
    (("logs", "--since", "soon"), "“soon” is not a time: enter 10m, 2h, 1d"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTYPED)
def test_mistyped_words_get_one_sentence_a_suggestion_and_2(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, said = typed(capsys, *words)
    assert (code, out) == (2, "")
    assert said.startswith("boathouse: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert f"./boathouse {words[0]}" in said


def test_programs_get_it_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["boathouse", "restart", "rgistry", "--json"])
    code, out, said = typed(capsys, "restart", "rgistry", "--json")
    assert (code, said) == (2, "")
    assert "did you mean registry?" in json.loads(out)["error"]
    with pytest.raises(CommandError) as ended:
        call_command("restart", "rgistry")
    assert ended.value.returncode == 2


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["list"], ["list"]),
        (["list", "-v"], ["--verbosity=2", "list"]),
        (["list", "-v", "3", "--json"], ["--verbosity=3", "list", "--json"]),
        (["-v", "list", "a"], ["--verbosity=2", "list", "a"]),
    ],
)
def test_v_may_stand_anywhere(words: list[str], meant: list[str]) -> None:
    assert parser.with_verbosity(words) == meant


COMPLETED = [
    ("./boathouse re", ["repository", "restart", "restore", "retention"]),
    ("./boathouse restart ma", ["manifests"]),
    ("./boathouse user ad", ["add"]),
    ("boathouse user add anna --pul", ["--pull"]),
    ("boathouse logs --fol", ["--follow"]),
    ("./boathouse logs --js", ["--json"]),
    ("./boathouse logs --sett", []),
]


def test_bash_completes_commands_acts_parts_and_options(tmp_path: Path) -> None:
    printed = io.StringIO()
    call_command("completion", "bash", stdout=printed)
    script = tmp_path / "completion"
    script.write_text(printed.getvalue())
    asks = [f'source "{script}"']
    for line, _found in COMPLETED:
        words = line.split(" ")
        asks.append(
            f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; COMPREPLY=()\n"
            '_boathouse; echo "${COMPREPLY[@]}"'
        )
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(asks)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    found = [sorted(line.split()) for line in done.stdout.splitlines()]
    assert found == [some for _line, some in COMPLETED]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "words",
    [
        ("user", "remove", "anna"),
        ("operator", "remove", "ada"),
        ("gc", "--purge-now"),
        ("backup", "prune", "/nowhere", "--keep", "1"),
    ],
)
def test_what_cannot_be_undone_needs_yes_without_a_terminal(words: tuple[str, ...]) -> None:
    RegistryUser.objects.create(name="anna")
    make_operator("ada", Role.ADMIN)
    with pytest.raises(CommandError, match="add --yes") as ended:
        call_command(*words)
    assert ended.value.returncode == 2
    assert RegistryUser.objects.exists()
    assert Operator.objects.exists()


def test_zsh_reads_the_same_through_bashcompinit() -> None:
    printed = io.StringIO()
    call_command("completion", "zsh", stdout=printed)
    assert "bashcompinit\n_boathouse() {" in printed.getvalue()
