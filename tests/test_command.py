"""`./boathouse` on machines that this one is not.

The script is the real one; a folder in front of PATH pretends the programs it asks. It changes
nothing of this machine, because its `sudo` does not.
"""

import json
import subprocess
from pathlib import Path

import pytest

from portal import __version__

from .support.waiting import LONGEST

ROOT = Path(__file__).resolve().parents[1]
LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A bare machine: no package is installed, and the user is not root."""
    folder = tmp_path / "programs"
    folder.mkdir()
    pretend(folder, "id", "echo 1000")
    pretend(folder, "dpkg-query", "exit 1")
    pretend(folder, "sudo", "exit 1")
    return folder


def pretend(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def boathouse(programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "boathouse"), *arguments],
        env={"PATH": f"{programs}:/usr/bin:/bin", "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def test_the_version_is_said_before_anything_is_installed(programs: Path) -> None:
    assert boathouse(programs, "--version").stdout == f"boathouse {__version__}\n"


@pytest.mark.parametrize(
    ("word", "end"),
    [("statsu", "; did you mean status?"), ("xyzzy", ". ./boathouse --help shows all.")],
)
def test_an_unknown_command_gets_a_suggestion_and_2(programs: Path, word: str, end: str) -> None:
    done = boathouse(programs, word)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"boathouse: There is no command {word}{end}\n"
    told = json.loads(boathouse(programs, word, "--json").stdout)
    assert told == {"error": f"There is no command {word}{end}"}


@pytest.mark.parametrize(
    ("words", "new"),
    [
        ("gc --put-back", "--restore"),
        ("manifest --for-good", "--permanently"),
        ("user drift --put-back", "--revert"),
        ("user drift --take-over", "--accept"),
        ("user drift --leave", "--ignore"),
    ],
)
def test_a_word_of_the_version_before_still_works(programs: Path, words: str, new: str) -> None:
    old = words.split()[-1]
    said = boathouse(programs, *words.split(), "--help").stderr
    assert said.startswith(f'"{old}" is now called "{new}"')


def test_a_user_whom_sudo_refuses_gets_one_sentence_with_the_command(programs: Path) -> None:
    pretend(programs, "sudo", 'echo "sudo: a password is required" >&2; exit 1')
    done = boathouse(programs, "up")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "apt-get install --no-install-recommends docker-registry " in done.stderr
    assert "ca-certificates, then try again." in done.stderr


def test_a_program_gets_the_same_sentence_as_json(programs: Path) -> None:
    done = boathouse(programs, "up", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert "this user may not install them" in json.loads(done.stdout)["error"]


def test_a_machine_without_dpkg_gets_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "readlink", "dirname"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "boathouse"), "up"],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "no dpkg-query" in done.stderr


@pytest.fixture
def apt(programs: Path, tmp_path: Path) -> Path:
    """The arguments of each apt-get, whose lists another program holds at its first two turns."""
    calls = tmp_path / "calls"
    # What would change this machine (tee, chmod, rm of a file in /usr/sbin) is not done.
    pretend(programs, "sudo", 'case "$1" in env) exec "$@" ;; tee) cat >/dev/null ;; esac')
    pretend(programs, "sleep", "exit 0")
    is_free = f'[ "$(wc -l <"{calls}")" -gt 2 ]'
    pretend(
        programs, "apt-get", f'echo "$@" >>"{calls}"; {is_free} && exit; echo "{LOCKED}"; exit 100'
    )
    return calls


def test_the_lists_of_apt_are_waited_for(programs: Path, apt: Path) -> None:
    """A new machine often updates itself just when somebody types the first `up`."""
    done = boathouse(programs, "up", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("waiting for it") == 1
    calls = apt.read_text().splitlines()
    assert [("update" in call, "install" in call) for call in calls] == [
        *[(True, False)] * 3,
        (False, True),
    ]


def test_nothing_is_removed_for_our_packages(programs: Path, apt: Path) -> None:
    """Debian's docker.io stands against Docker's own packages: apt would take those away."""
    boathouse(programs, "up", "--help")
    assert "--no-remove" in apt.read_text().splitlines()[-1]


def test_another_failure_of_apt_is_not_waited_for(programs: Path, apt: Path) -> None:
    pretend(programs, "apt-get", f'echo "$@" >>"{apt}"; echo "E: No such host"; exit 100')
    done = boathouse(programs, "up", "--help")
    assert done.returncode == 1
    assert "E: No such host\nboathouse: apt-get could not install" in done.stderr
    assert len(apt.read_text().splitlines()) == 1


def test_a_command_other_than_up_looks_for_nothing_that_is_there(tmp_path: Path) -> None:
    """Without dpkg-query, apt and msgfmt: what an earlier `up` made is enough."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "readlink", "dirname", "cat", "sha256sum"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "boathouse"), "list", "--help"],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_relative_file_is_the_callers(tmp_path: Path) -> None:
    """Though the script changes to its own folder, which has a README.md, too."""
    done = subprocess.run(
        [str(ROOT / "boathouse"), "import", "htpasswd", "README.md"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "BOATHOUSE_DATA": str(tmp_path / "data")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 1
    assert f"No such file or directory: '{tmp_path}/README.md'" in done.stderr
