"""What a line, a name and a hash is: proved by asking the real nginx for each odd file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as how
from hypothesis import strategies as st

from registryui.accounts import htpasswd
from registryui.accounts.htpasswd import Kind, change, kind, parse, verify

from .bare_nginx import BareNginx, bare_nginx
from .hashes import OF_EACH_KIND, OF_NO_KIND, PASSWORD

GOOD = "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A="  # of PASSWORD
BAD = "{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA="


@pytest.fixture(scope="module")
def nginx() -> Iterator[BareNginx]:
    with bare_nginx() as made:
        yield made


def let_in(nginx: BareNginx, content: bytes, name: str | bytes, secret: str = PASSWORD) -> bool:
    nginx.file.write_bytes(content)
    return nginx.takes(name, secret)


# -- kinds of hashes -------------------------------------------------------------------------------
@pytest.mark.parametrize("line_hash", OF_EACH_KIND)
def test_every_kind_of_hash_is_known_as_nginx_takes_it(nginx: BareNginx, line_hash: str) -> None:
    found = OF_EACH_KIND[line_hash]
    assert kind(line_hash) == found
    assert let_in(nginx, f"a:{line_hash}\n".encode(), "a")
    assert not nginx.takes("a", PASSWORD + "x") or found in (Kind.DES, Kind.RARE)  # 8 bytes count
    assert not nginx.takes("a", "wrong")
    assert verify(line_hash, PASSWORD)
    assert verify(line_hash, PASSWORD + "x") is nginx.takes("a", PASSWORD + "x")
    assert not verify(line_hash, "wrong")


@pytest.mark.parametrize("line_hash", OF_NO_KIND)
def test_nobody_gets_in_with_what_is_called_unknown(nginx: BareNginx, line_hash: str) -> None:
    assert kind(line_hash) == Kind.UNKNOWN or line_hash.startswith("{SSHA}")
    assert not let_in(nginx, f"a:{line_hash}\n".encode(), "a")
    assert not verify(line_hash, PASSWORD)


def test_an_empty_password_in_clear_lets_in_without_one(nginx: BareNginx) -> None:
    assert kind("{PLAIN}") == Kind.PLAIN
    assert let_in(nginx, b"a:{PLAIN}\n", "a", "")
    hashed = htpasswd.hash_clear("", rounds=5)
    assert let_in(nginx, f"a:{hashed}\n".encode(), "a", "")


@pytest.mark.parametrize("secret", ["x", "pässwörd 名", "y" * 72, "with:colon"])
def test_what_we_make_nginx_and_apache_take(nginx: BareNginx, tmp_path: Path, secret: str) -> None:
    for made in (
        htpasswd.hash_secret(secret),
        htpasswd.hash_password(secret, rounds=5),
        htpasswd.hash_clear(secret, rounds=5),
    ):
        assert let_in(nginx, f"a:{made}\n".encode(), "a", secret)
        assert not nginx.takes("a", secret + "x") or len(secret.encode()) == 72
        assert verify(made, secret)
        if made.startswith("$2y$"):  # Apache's program knows no {SSHA}
            (tmp_path / "file").write_text(f"a:{made}\n")
            command = ["htpasswd", "-vb", str(tmp_path / "file"), "a", secret]
            assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_password_in_clear_of_any_length_works_after_it_was_hashed(nginx: BareNginx) -> None:
    long = "é" * 100
    assert let_in(nginx, f"a:{{PLAIN}}{long}\n".encode(), "a", long)
    hashed = htpasswd.hash_clear(long, rounds=5)
    assert let_in(nginx, f"a:{hashed}\n".encode(), "a", long)
    with pytest.raises(ValueError, match="72"):
        htpasswd.hash_password("x" * 73)


def test_a_salted_hash_in_another_spelling_is_taken_by_neither(nginx: BareNginx) -> None:
    """The last letter of base64 has bits that say nothing; nginx compares the text."""
    made = "{SSHA}ua6N/fCd4la954HsMzWu42bRsfJhYmNkZWZnaA=="
    again = made.replace("aA==", "aB==")
    assert verify(made, PASSWORD) is let_in(nginx, f"a:{made}\n".encode(), "a") is True
    assert verify(again, PASSWORD) is let_in(nginx, f"a:{again}\n".encode(), "a") is False


# -- lines -----------------------------------------------------------------------------------------
HASH = GOOD.encode()
ODD_FILES = {
    "no newline at the end": b"a:" + HASH,
    "CRLF": b"a:" + HASH + b"\r\nb:" + HASH + b"\r\n",
    "two CR": b"a:" + HASH + b"\r\r\nb:" + HASH,
    "CR alone": b"a:" + HASH + b"\rb:" + HASH + b"\n",
    "CR before a name": b"\ra:" + HASH + b"\n",
    "CR in a name": b"a\rb:" + HASH + b"\n",
    "CR behind a name": b"a\r:" + HASH + b"\n",
    "blank lines": b"\n\n\r\n\na:" + HASH + b"\n\n",
    "form feed and other breaks of str.splitlines": b"a\x0cb:" + HASH + b"\nc\xc2\x85d:" + HASH,
    "comment": b"#a:" + HASH + b"\n# a\nb:" + HASH,
    "space before a comment": b" #a:" + HASH,
    "spaces around": b" a : " + HASH + b"\n",
    "space behind the hash": b"a:" + HASH + b" \n",
    "space before the hash": b"a: " + HASH + b"\n",
    "tab": b"\ta:" + HASH + b"\n",
    "second colon": b"a:" + HASH + b":the build server\n",
    "NUL behind the hash": b"a:" + HASH + b"\0more\n",
    "NUL in a name": b"a\0b:" + HASH + b"\n",
    "twice, the good one first": b"a:" + HASH + b"\na:" + BAD.encode(),
    "twice, the good one last": b"a:" + BAD.encode() + b"\na:" + HASH,
    "twice, the first is no UTF-8": b"a:\xff\na:" + HASH,
    "empty name": b":" + HASH + b"\na:" + HASH,
    "empty hash": b"a:\nb:" + HASH,
    "empty hash at the end": b"a:",
    "name without a hash": b"a",
    "byte order mark": b"\xef\xbb\xbfa:" + HASH + b"\n",
    "names that are no UTF-8": b"\xff:" + HASH + b"\nb:" + HASH,
    "longer than nginx's buffer": b"x" * 5000
    + b"\na:"
    + HASH
    + b"\n"
    + b"y:z\n" * 900
    + b"b:"
    + HASH,
    "the name above itself, without a colon": b"a\na:" + HASH + b"\n",
    "the begin of the name above it": b"a\nab:" + HASH + b"\nabc:" + HASH,
    "two begins of the name above it": b"a\nab\nabc:" + HASH,
    "three begins of the name above it": b"a\nab\nabc\nabcd:" + HASH,
    "the begin of the name, with CR": b"a\r\nab:" + HASH,
    "a blank line between": b"a\n\nab:" + HASH,
}
NAMES = [
    "a",
    "b",
    "ab",
    "abc",
    "abcd",
    " a ",
    " a",
    "\ta",
    " #a",
    "#a",
    "",
    "c\x85d",
    "a\rb",
    "a\r",
]
NAMES += ["a\x0cb", "a\0b", "\ufeffa", "b:", "\ra", "a\nab"]


def by_parse(content: bytes, name: str) -> bool:
    """Whether PASSWORD lets in by `parse` and `verify`."""
    return verify(parse(content).get(name, ""), PASSWORD)


@pytest.mark.parametrize("what", ODD_FILES)
def test_parse_sees_in_an_odd_file_whom_nginx_sees(nginx: BareNginx, what: str) -> None:
    content = ODD_FILES[what]
    nginx.file.write_bytes(content)
    seen = {name: nginx.takes(name, PASSWORD) for name in NAMES}
    # A login of two lines matches two lines; it needs the second one's secret and has no rights.
    del seen["a\nab"]
    assert seen == {name: by_parse(content, name) for name in seen}


def test_a_name_that_is_no_text_is_nobody_here(nginx: BareNginx) -> None:
    content = b"\xff:" + HASH + b"\nb:" + HASH + b"\n"
    assert parse(content) == {"b": GOOD}
    assert let_in(nginx, content, b"\xff")
    assert change(content, {"b": BAD}) == b"\xff:" + HASH + b"\nb:" + BAD.encode() + b"\n"


letters = st.sampled_from([b"a", b"b", b":", b"\n", b"\r", b"#", b" ", b"\0", b"\xc3\xa9", b"\xff"])
lines = st.one_of(
    st.sampled_from([b"a", b"ab", b"abc", b"b"]).map(lambda name: name + b"\n"),
    st.sampled_from([b"a", b"ab", b"abc", b"b"]).map(lambda name: name + b":" + HASH + b"\n"),
    st.sampled_from([b"a", b"ab", b"abc"]).map(lambda name: name + b":" + BAD.encode() + b"\r\n"),
    st.sampled_from([b"\n", b"# a\n", b"a\r\n", b"a:" + HASH + b":x\n", b"abc"]),
    letters,
)
files = st.lists(lines, max_size=12).map(b"".join)
names = st.sampled_from(["a", "ab", "abc", "b", "é"])
changes = st.dictionaries(names, st.sampled_from([GOOD, BAD, ""]), max_size=4)


@how(max_examples=300, deadline=None)
@given(files)
def test_parse_sees_in_any_file_whom_nginx_sees(nginx: BareNginx, content: bytes) -> None:
    nginx.file.write_bytes(content)
    for name in ("a", "ab", "abc", "b", "é", " a"):
        assert nginx.takes(name, PASSWORD) is by_parse(content, name), name


@how(max_examples=200, deadline=None)
@given(files, changes)
@example(b"abc", {"abc": GOOD})
@example(b"a\nb:x\nab:" + HASH, {"b": ""})
def test_after_a_change_nginx_sees_what_was_asked_and_nobody_else_lost_or_won(
    nginx: BareNginx, content: bytes, asked: dict[str, str]
) -> None:
    after = change(content, asked)
    nginx.file.write_bytes(after)
    for name in ("a", "ab", "abc", "b", "é", " a"):
        wanted = verify(asked[name], PASSWORD) if name in asked else by_parse(content, name)
        assert nginx.takes(name, PASSWORD) is wanted, name


# -- any bytes -------------------------------------------------------------------------------------
any_file = st.one_of(files, st.binary(max_size=300))


@how(max_examples=500, deadline=None)
@given(any_file, st.dictionaries(names, st.sampled_from([GOOD, BAD, ""])))
def test_change_then_parse_gives_what_was_asked(content: bytes, asked: dict[str, str]) -> None:
    after = change(content, asked)
    wanted = {**parse(content), **asked}
    assert parse(after) == {
        name: value for name, value in wanted.items() if value or name not in asked
    }
    assert change(after, asked) == after


@how(max_examples=500, deadline=None)
@given(any_file, st.dictionaries(names, st.sampled_from([GOOD, ""])))
def test_change_keeps_every_foreign_line(content: bytes, asked: dict[str, str]) -> None:
    def foreign(text: bytes) -> list[bytes]:
        ours = tuple(name.encode() + b":" for name in asked)
        return [line for line in text.split(b"\n") if line and not line.startswith(ours)]

    assert foreign(change(content, asked)) == foreign(content)


@how(max_examples=300, deadline=None)
@given(any_file)
def test_no_change_changes_nothing(content: bytes) -> None:
    assert change(content, {}) == content
    assert change(content, {"nobody-there": ""}) == content
    texts = parse(content)
    assert all(name and not name.startswith("#") and ":" not in name for name in texts)


@how(max_examples=300, deadline=None)
@given(any_file)
def test_every_line_that_is_seen_can_be_taken_out(content: bytes) -> None:
    assert parse(change(content, dict.fromkeys(parse(content), ""))) == {}


def test_a_comment_behind_the_hash_stays_with_its_user() -> None:
    content = b"a:old:the build server\r\nb:x\n"
    assert change(content, {"a": GOOD}) == b"a:" + HASH + b":the build server\r\nb:x\n"


def test_ten_thousand_users_are_changed_at_once() -> None:
    content = b"".join(b"user-%d:%b\n" % (number, HASH) for number in range(10_000))
    assert change(content, dict.fromkeys(parse(content), GOOD)) == content
    assert change(content, dict.fromkeys(parse(content), "")) == b""


# -- what may be written ---------------------------------------------------------------------------
@how(max_examples=500, deadline=None)
@given(st.text(max_size=8), st.text(max_size=8))
def test_no_name_and_no_hash_makes_another_line(name: str, line_hash: str) -> None:
    try:
        after = change(b"first:x\n", {name: line_hash or "y"})
    except ValueError:
        return
    if name != "first":
        assert parse(after) == {"first": "x", name: line_hash or "y"}


@pytest.mark.parametrize("line_hash", ["a:b", "a\nb:c", "a b", "\0", "a\r", "é", "\ufffd"])
def test_a_hash_that_would_break_a_line_is_refused(line_hash: str) -> None:
    with pytest.raises(ValueError, match=r"hash|encode"):
        change(b"", {"a": line_hash})
