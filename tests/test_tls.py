"""CA and server certificate, judged by openssl."""

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registryui import tls

NAMES = ["registry.example.net", "localhost", "127.0.0.1", "::1"]


def openssl(*words: str) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tls"
    made.mkdir()
    assert tls.ensure(made, names=NAMES)
    return made


def test_openssl_accepts_the_chain_for_every_name(folder: Path) -> None:
    ca, leaf = str(folder / "ca.crt"), str(folder / "server.crt")
    for kind, name in [
        ("-verify_hostname", "registry.example.net"),
        ("-verify_hostname", "localhost"),
        ("-verify_ip", "127.0.0.1"),
        ("-verify_ip", "::1"),
    ]:
        said = openssl(
            *("verify", "-x509_strict", "-purpose", "sslserver", kind, name, "-CAfile", ca, leaf)
        )
        assert said.strip().endswith(": OK"), said
    refused = openssl("verify", "-verify_hostname", "other.example.net", "-CAfile", ca, leaf)
    assert "mismatch" in refused
    assert "unable to get local issuer" in openssl("verify", "-no-CApath", "-no-CAfile", leaf)


def test_the_fingerprint_is_the_one_that_openssl_prints(folder: Path) -> None:
    said = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", str(folder / "ca.crt"))
    assert tls.read_certificate(folder / "ca.crt").fingerprint == said.strip().split("=")[1]


def test_keys_are_for_their_owner_only(folder: Path) -> None:
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_second_time_changes_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not tls.ensure(folder, names=NAMES)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_new_name_makes_a_new_leaf_below_the_same_ca(folder: Path) -> None:
    ca = (folder / "ca.crt").read_bytes()
    assert tls.ensure(folder, names=[*NAMES, "10.1.2.3"])
    assert "10.1.2.3" in tls.read_certificate(folder / "server.crt").names
    assert (folder / "ca.crt").read_bytes() == ca


def test_a_leaf_that_ends_soon_is_renewed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tls.read_certificate(folder / "server.crt")
    assert before.not_after - datetime.now(UTC) <= timedelta(days=398)
    later = before.not_after - timedelta(days=29)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return later

    monkeypatch.setattr(tls, "datetime", Later)
    assert tls.ensure(folder, names=NAMES)
    assert tls.read_certificate(folder / "server.crt").not_after > before.not_after


def test_a_pair_of_the_users_own_is_checked_before_it_is_used(folder: Path, tmp_path: Path) -> None:
    certificate, key = folder / "server.crt", folder / "server.key"
    tls.check_pair(certificate, key, host="registry.example.net")
    with pytest.raises(ValueError, match=r"not for other\.example\.net"):
        tls.check_pair(certificate, key, host="other.example.net")
    with pytest.raises(ValueError, match="key"):
        tls.check_pair(certificate, folder / "ca.key", host="registry.example.net")
    with pytest.raises(ValueError, match="nothing"):
        tls.check_pair(tmp_path / "nothing", key, host="registry.example.net")
