"""The process itself, at its socket: what it answers to good, odd and malformed requests."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from registryui.accounts import htpasswd
from registryui.password_check.__main__ import NICE, network
from tests.accounts.bare_nginx import bare_nginx
from tests.accounts.hashes import OF_EACH_KIND, OF_NO_KIND, PASSWORD
from tests.support.folders import open_folder
from tests.support.instance import wait_for
from tests.support.waiting import LONGEST

HEAD = b"GET /login HTTP/1.1\r\nX-Real-IP: %b\r\nAuthorization: %b\r\n\r\n"
BUSY, RIGHT, WRONG = b"X-Boathouse-Login: busy", b"HTTP/1.1 204 ", b"HTTP/1.1 401 "


@dataclass
class Check:
    folder: Path
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def file(self) -> Path:
        return self.folder / "htpasswd"

    @property
    def overlap(self) -> Path:
        return self.folder / "htpasswd.old"

    def connect(self) -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(LONGEST)
        one.connect(str(self.folder / "socket"))
        return one

    def send(self, request: bytes) -> bytes:
        """The answer to those bytes."""
        with self.connect() as one:
            one.sendall(request)
            return one.recv(65536)

    def login(self, name: str, secret: str = PASSWORD, address: str = "192.0.2.1") -> bytes:
        return self.ask(b"Basic " + b64encode(f"{name}:{secret}".encode()), address)

    def ask(self, authorization: bytes, address: str = "192.0.2.1") -> bytes:
        return self.send(HEAD % (address.encode(), authorization))

    def request(self, name: str, secret: str) -> bytes:
        basic = b"Basic " + b64encode(f"{name}:{secret}".encode())
        return HEAD % (b"192.0.2.1", basic)

    def start(self) -> subprocess.Popen[bytes]:
        place = self.folder / "socket"
        place.unlink(missing_ok=True)
        files = map(str, (place, self.file, self.overlap))
        command = [sys.executable, "-m", "registryui.password_check", *files]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        wait_for(place)
        return process


@pytest.fixture
def check() -> Iterator[Check]:
    with open_folder("check") as folder:
        one = Check(folder)
        for path in (one.file, one.overlap):
            path.touch()
        one.process = one.start()
        try:
            yield one
            assert one.process.poll() is None
        finally:
            one.process.terminate()
            _out, errors = one.process.communicate(timeout=LONGEST)
        assert (one.process.returncode, errors) == (0, b"")


def test_every_kind_of_line_is_taken_and_refused_as_nginx_does(check: Check) -> None:
    kinds = (*OF_EACH_KIND, *OF_NO_KIND, "*0", "$2y$08$short", "$6$", "$y$", "$apr1$", "{SSHA}====")
    lines = {f"user{n}": line for n, line in enumerate(kinds)}
    content = b"".join(f"{name}:{line}\n".encode() for name, line in lines.items())
    check.file.write_bytes(content + b"\xff\xfe:{PLAIN}\xff\xfe\n")
    with bare_nginx() as nginx:
        nginx.file.write_bytes(check.file.read_bytes())
        for number, name in enumerate(lines):
            for secret in (PASSWORD, PASSWORD + "x", "wrong", ""):
                answer = check.login(name, secret, f"192.0.2.{number}")
                assert answer.startswith((RIGHT, WRONG))
                assert answer.startswith(RIGHT) is nginx.takes(name, secret), (lines[name], secret)
    assert check.ask(b"Basic " + b64encode(b"\xff\xfe:\xff\xfe")).startswith(RIGHT)


def test_a_right_login_is_sent_to_its_rights(check: Check) -> None:
    check.file.write_text(f"anna:{htpasswd.hash_password(PASSWORD, rounds=5)}\n")
    for _ in range(2):  # computed, remembered
        assert check.login("anna") == RIGHT + b"No Content\r\nX-Accel-Redirect: /_rights\r\n\r\n"


def test_a_change_of_either_file_counts_at_once(check: Check) -> None:
    secrets = [f"secret {number}" for number in range(10)]
    lines = [f"anna:{htpasswd.hash_password(one, rounds=5)}\n" for one in secrets]
    for place in (check.file, check.overlap):
        for line, secret, before in zip(lines, secrets, (*secrets[1:], ""), strict=True):
            place.write_text(line)  # within one tick of the clock, as long as before
            assert check.login("anna", secret).startswith(RIGHT)
            assert check.login("anna", before, os.urandom(4).hex()).startswith(WRONG)
        place.write_text("")
        assert check.login("anna", secrets[-1]).startswith(WRONG)


def test_without_a_file_of_users_nobody_gets_in(check: Check) -> None:
    check.file.write_text(f"anna:{htpasswd.hash_password(PASSWORD, rounds=5)}\n")
    check.overlap.unlink()
    assert check.login("anna").startswith(RIGHT)
    check.file.unlink()
    gone = check.login("anna")
    assert gone.startswith(b"HTTP/1.1 403 ")
    assert BUSY not in gone
    check.file.mkdir()
    assert check.login("anna").startswith(b"HTTP/1.1 500 ")


GOOD = b"anna:" + PASSWORD.encode()
HEADERS = (
    *(b"", b"Basic", b"Basic ", b"Basic =", b"Basic Y", b"Basic \xff\xfe", b"Bearer YTpi"),
    *(b"Basic YW5uYQ==", b"Basic Og==", b"Basic YTpi YTpi", b"Basic " + b"YTpi" * 1000),
    *(b"Basic " + b64encode(pair) for pair in (GOOD, GOOD + b"\0more", GOOD + b"\n", GOOD + b"x")),
    *(b"Basic " + b64encode(pair) for pair in (b"\0" + GOOD, b"an\0na" + GOOD[4:], b":" + GOOD)),
    *(kind + b64encode(GOOD) for kind in (b"BASIC ", b"basic   ", b"Basic\t", b"Basic", b"")),
    b"Basic " + b64encode(GOOD).rstrip(b"="),
    b"Basic " + b64encode(GOOD).rstrip(b"=") + b"=behind it",
    b"Basic " + b64encode(GOOD).replace(b"=", b"") + b"-",
)


def test_the_header_is_read_as_nginx_reads_it(check: Check) -> None:
    check.file.write_text(f"anna:{htpasswd.hash_password(PASSWORD, rounds=5)}\n")
    found = {header: check.ask(header, f"192.0.2.{n}") for n, header in enumerate(HEADERS)}
    assert {answer[:13] for answer in found.values()} == {RIGHT, WRONG}
    with bare_nginx() as nginx:
        nginx.file.write_bytes(check.file.read_bytes())
        for header, answer in found.items():
            assert answer.startswith(RIGHT) is nginx.takes_header(header), header


def test_a_header_longer_than_any_of_nginx_is_no_trouble(check: Check) -> None:
    assert check.ask(b"Basic " + b"YTpi" * 20_000).startswith(WRONG)
    assert check.ask(b"Basic " + b64encode(b"anna:" + b"x" * 40_000)).startswith(WRONG)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /login?x HTTP/1.1\r\n\r\n", b"404"),
        (b"\r\n\r\n", b"400"),
        (b"\0\xff\r\n\r\n", b"400"),
        (b"GET /login HTTP/1.1\r\n:\r\nno colon\r\n\xff: \xff\r\n\r\n", b"401"),
        (b"x" * 200_000, b"400"),
    ],
)
def test_malformed_requests_are_refused(check: Check, request_: bytes, answer: bytes) -> None:
    assert check.send(request_).startswith(b"HTTP/1.1 " + answer)


def test_slow_and_lost_connections_delay_nobody(check: Check) -> None:
    check.file.write_text(f"anna:{htpasswd.hash_password(PASSWORD, rounds=5)}\n")
    slow, lost = check.connect(), check.connect()
    slow.sendall(b"GET /hea")
    lost.sendall(b"GET /login HTTP/1.1\r\nX-Real-IP: 192.0.2.1\r\n\r\n")
    lost.close()
    assert check.login("anna").startswith(RIGHT)
    slow.sendall(b"lthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n"[:20])
    slow.sendall(b"\r\n\r\n")
    assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
    slow.close()


def test_a_crowd_at_once_is_answered_to_the_last(check: Check) -> None:
    check.file.write_text(f"anna:{htpasswd.hash_password(PASSWORD, rounds=8)}\n")
    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda n=n: found.append(check.login("anna", address=f"10.0.0.{n % 9}"))
        )
        for n in range(200)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one[:13] for one in found] == [RIGHT] * 200


def test_guessers_have_processes_of_low_priority_and_all_end_with_it(check: Check) -> None:
    children = psutil.Process(check.process.pid).children()
    own = psutil.Process(check.process.pid).nice()
    assert {one.nice() for one in children} == {own, min(own + NICE, 19)}
    check.process.kill()
    check.process.wait()
    psutil.wait_procs(children, timeout=LONGEST)
    assert not [one for one in children if one.is_running()]
    check.process = check.start()


def test_a_hash_that_is_never_computed_holds_up_one_kind_of_login(check: Check) -> None:
    """The processes of guessers stand still: who did not guess gets in."""
    check.file.write_text(f"anna:{htpasswd.hash_password(PASSWORD, rounds=5)}\n")
    own = psutil.Process(check.process.pid).nice()
    of_guessers = [o for o in psutil.Process(check.process.pid).children() if o.nice() > own]
    assert check.login("anna", "wrong").startswith(WRONG)
    for one in of_guessers:
        one.suspend()
    with check.connect() as guesser:
        guesser.sendall(check.request("anna", "wrong"))
        assert check.login("anna", address="192.0.2.2").startswith(RIGHT)
        for one in of_guessers:
            one.resume()
        assert guesser.recv(65536).startswith(WRONG)


def test_without_one_of_its_processes_it_ends_to_be_started_again(check: Check) -> None:
    check.file.write_text(f"anna:{htpasswd.hash_password(PASSWORD, rounds=5)}\n")
    for one in psutil.Process(check.process.pid).children():
        one.kill()
    assert check.login("anna").startswith(b"HTTP/1.1 500 ")
    assert check.process.wait(LONGEST) == 1
    check.process = check.start()
    assert check.login("anna").startswith(RIGHT)


def test_guesses_of_one_network_of_ipv6_wait_together(check: Check) -> None:
    assert network(b"2001:db8::1") == network(b"2001:db8::ffff")
    assert network(b"2001:db8::1") != network(b"2001:db8:0:1::1")
    assert network(b"192.0.2.1") != network(b"192.0.2.2")
    assert network(b"unix:") == b"unix:"
    assert check.login("anna", address="2001:db8::1").startswith(WRONG)


def test_only_the_folder_closes_the_socket(check: Check) -> None:
    assert stat.S_IMODE((check.folder / "socket").stat().st_mode) == 0o666
