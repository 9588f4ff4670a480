"""CA and server certificate, judged by openssl, curl and real TLS connections."""

from __future__ import annotations

import ipaddress
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from registryui import tls

from .support.authorities import forge, load, make_unlimited, server
from .support.waiting import LONGEST

NAMES = ["registry.example.net", "localhost", "127.0.0.1", "::1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A TLS folder with everything made."""
    assert tls.ensure(tmp_path / "tls", names=NAMES)
    return tmp_path / "tls"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=LONGEST
    )


# -- what others say to it -----------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", [["-verify_hostname", "registry.example.net"], ["-verify_ip", "::1"]]
)
def test_openssl_accepts_the_chain_strictly(folder: Path, name: list[str]) -> None:
    done = run(
        *("openssl", "verify", "-x509_strict", "-purpose", "sslserver", *name),
        *("-CAfile", folder / "ca.crt", folder / "server.crt"),
    )
    assert done.stdout.strip().endswith("OK"), done.stderr


def test_openssl_refuses_another_name(folder: Path) -> None:
    done = run(
        *("openssl", "verify", "-verify_hostname", "other.example.net"),
        *("-CAfile", folder / "ca.crt", folder / "server.crt"),
    )
    assert "hostname mismatch" in done.stderr


def test_curl_accepts_it_with_the_ca_and_refuses_it_without(folder: Path) -> None:
    with server(folder) as port:
        for host in ("localhost", "127.0.0.1"):
            url = f"https://{host}:{port}/"
            assert run("curl", "-fsS", "--cacert", folder / "ca.crt", url).returncode == 0
            assert run("curl", "-fsS", url).returncode == 60


def test_requests_accepts_it_with_the_ca_and_refuses_it_without(folder: Path) -> None:
    with server(folder) as port:
        url = f"https://127.0.0.1:{port}/"
        assert requests.get(url, verify=str(folder / "ca.crt"), timeout=5).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url, timeout=5)


def test_a_ca_made_elsewhere_for_the_same_host_is_refused(folder: Path, tmp_path: Path) -> None:
    tls.ensure(tmp_path / "other", names=NAMES)
    mine, other = load(folder / "ca.crt"), load(tmp_path / "other" / "ca.crt")
    assert mine.subject != other.subject
    done = run("openssl", "verify", "-CAfile", tmp_path / "other" / "ca.crt", folder / "server.crt")
    assert done.returncode != 0


# -- what is in it -------------------------------------------------------------------------------
def test_the_ca_may_sign_servers_and_no_further_ca(folder: Path) -> None:
    ca = load(folder / "ca.crt")
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    years = (ca.not_valid_after_utc - datetime.now(UTC)).days / 365.25
    assert 9.9 < years < 10.1


def test_the_leaf_is_a_server_for_397_days_at_most(folder: Path) -> None:
    leaf = load(folder / "server.crt")
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=397)
    assert datetime.now(UTC) - leaf.not_valid_before_utc >= timedelta(minutes=59)
    assert leaf.serial_number.bit_length() > 100


def test_addresses_stand_in_the_san_as_addresses(folder: Path) -> None:
    san = load(folder / "server.crt").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert san.value.get_values_for_type(x509.DNSName) == ["registry.example.net", "localhost"]
    assert san.value.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]


def test_read_certificate_tells_what_openssl_tells(folder: Path) -> None:
    found = tls.read_certificate(folder / "server.crt")
    printed = run(
        "openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", folder / "server.crt"
    )
    assert printed.stdout.strip().partition("=")[2] == found.fingerprint
    assert found.names == ("registry.example.net", "localhost", "127.0.0.1", "::1")
    assert (found.key, found.is_ca) == ("ECDSA P-256", False)
    assert found.issuer.startswith("Boathouse CA registry.example.net ")
    assert found.days_left() in (395, 396)


def test_a_very_long_host_name_fits() -> None:
    name = ".".join(["x" * 50] * 4)
    assert tls._general_name(name) == x509.DNSName(name)


def test_a_very_long_host_name_is_accepted_by_openssl(tmp_path: Path) -> None:
    name = ".".join(["x" * 50] * 4)
    tls.ensure(tmp_path, names=[name])
    verify = ("openssl", "verify", "-x509_strict", "-verify_hostname", name)
    assert run(*verify, "-CAfile", tmp_path / "ca.crt", tmp_path / "server.crt").returncode == 0


@pytest.mark.parametrize("name", ["a b", "a..b", "-x\n", "x" * 64, "a/b", "*.*"])
def test_what_is_no_name_is_refused_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="neither a host name nor an address"):
        tls.ensure(tmp_path / "tls", names=["fine", name])
    assert not (tmp_path / "tls").exists()


# -- what the authority may sign -------------------------------------------------------------------
@pytest.mark.parametrize("name", ["bank.example.com", "example.net.evil.org", "10.0.0.7", "::2"])
def test_a_stolen_key_signs_no_foreign_name_for_openssl(folder: Path, name: str) -> None:
    forge(folder, name)
    done = run("openssl", "verify", "-CAfile", folder / "ca.crt", folder / "server.crt")
    assert "permitted subtree violation" in done.stderr


def test_a_stolen_key_signs_no_foreign_name_for_curl_and_skopeo(folder: Path) -> None:
    """Skopeo checks with Go's library, as Docker, containerd and podman do."""
    forge(folder, "bank.example.com", "localhost")
    (folder / "trust").mkdir()
    (folder / "trust" / "ca.crt").write_bytes((folder / "ca.crt").read_bytes())
    with server(folder) as port:
        url = f"https://localhost:{port}/"
        assert run("curl", "-fsS", "--cacert", folder / "ca.crt", url).returncode == 60
        inspect = ("skopeo", "inspect", "--cert-dir", folder / "trust")
        done = run(*inspect, f"docker://localhost:{port}/a")
    assert "is not permitted by any constraint" in done.stderr


@pytest.mark.parametrize(
    ("names", "limits"),
    [
        (["registry.example.net"], ["example.net"]),
        (["example.net"], ["example.net"]),
        (["registry.example.co.uk"], ["example.co.uk"]),
        (["registry.co.uk"], ["registry.co.uk"]),
        (["registry"], ["registry"]),
        (["registry.internal"], ["registry.internal"]),
        (["*.apps.example.net"], ["apps.example.net"]),
        (["10.1.2.3", "fd00::1"], ["10.1.2.3", "fd00::1"]),
        (["a.example.net", "b.example.net", "localhost"], ["example.net", "localhost"]),
    ],
)
def test_an_authority_is_limited_to_the_domains_of_its_host(
    tmp_path: Path, names: list[str], limits: list[str]
) -> None:
    tls.ensure(tmp_path, names=names)
    assert list(tls.read_certificate(tmp_path / "ca.crt").may_sign) == limits
    tls.renew(tmp_path, names=names)


@pytest.mark.parametrize("name", ["registry.example.org", "notexample.net", "10.0.0.7"])
def test_a_name_outside_of_the_limits_is_refused_with_the_way_out(folder: Path, name: str) -> None:
    before = (folder / "server.crt").read_bytes()
    with pytest.raises(ValueError, match=rf"so not {name}: .*--new-authority"):
        tls.ensure(folder, names=[*NAMES, name])
    assert (folder / "server.crt").read_bytes() == before
    tls.replace_ca(folder, names=[*NAMES, name])
    assert tls.read_certificate(folder / "server.crt").covers(name)


def test_an_authority_from_before_stays_and_signs_any_name(folder: Path) -> None:
    old = make_unlimited(folder)
    tls.ensure(folder, names=[*NAMES, "registry.example.org"])
    assert (folder / "ca.crt").read_bytes() == old
    assert tls.read_certificate(folder / "ca.crt").may_sign == ()
    assert tls.read_certificate(folder / "server.crt").covers("registry.example.org")


# -- files ---------------------------------------------------------------------------------------
def test_only_the_owner_may_read_the_keys_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        tls.ensure(tmp_path / "tls", names=NAMES)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()}
    assert (modes["ca.key"], modes["server.key"]) == (0o600, 0o600)
    assert (modes["ca.crt"], modes["server.crt"]) == (0o644, 0o644)
    assert modes.keys() == {"ca.crt", "ca.key", "server.crt", "server.key", "lock"}


def test_many_at_once_make_one_ca_and_a_matching_pair(tmp_path: Path) -> None:
    line = (
        "import sys; from pathlib import Path; from registryui import tls;"
        "tls.ensure(Path(sys.argv[1]), names=sys.argv[2:])"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    words = [sys.executable, "-c", line, str(tmp_path / "tls"), "localhost"]
    running = [subprocess.Popen(words, env=environment) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    tls.check_pair(tmp_path / "tls/server.crt", tmp_path / "tls/server.key", host="localhost")
    leaf = load(tmp_path / "tls/server.crt")
    leaf.verify_directly_issued_by(load(tmp_path / "tls/ca.crt"))


# -- renewal -------------------------------------------------------------------------------------
def test_nothing_changes_while_all_is_well(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not tls.ensure(folder, names=["LocalHost", "REGISTRY.example.net.", "[::1]"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_missing_name_makes_a_new_leaf_under_the_same_ca(folder: Path) -> None:
    ca = (folder / "ca.crt").read_bytes()
    assert tls.ensure(folder, names=[*NAMES, "hub.example.net"])
    assert (folder / "ca.crt").read_bytes() == ca
    assert tls.read_certificate(folder / "server.crt").covers("hub.example.net")


@pytest.mark.parametrize(("days", "is_renewed"), [(29, True), (40, False)])
def test_a_leaf_is_renewed_in_its_last_30_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, is_renewed: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tls, "LEAF_DAYS", days)
        tls.ensure(tmp_path, names=NAMES)
    assert tls.ensure(tmp_path, names=NAMES) == is_renewed


def test_a_leaf_of_another_ca_is_replaced(folder: Path, tmp_path: Path) -> None:
    tls.ensure(tmp_path / "other", names=NAMES)
    for name in ("server.crt", "server.key"):
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    assert tls.ensure(folder, names=NAMES)
    load(folder / "server.crt").verify_directly_issued_by(load(folder / "ca.crt"))


@pytest.mark.parametrize("name", ["server.crt", "server.key"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_what_a_crash_leaves_is_made_anew(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    assert tls.ensure(folder, names=NAMES)
    tls.check_pair(folder / "server.crt", folder / "server.key", host="localhost")


def test_a_half_renewed_pair_is_made_anew(folder: Path, tmp_path: Path) -> None:
    tls.ensure(tmp_path / "other", names=NAMES)
    (folder / "server.key").write_bytes((tmp_path / "other" / "server.key").read_bytes())
    assert tls.ensure(folder, names=NAMES)


def test_a_ca_near_its_end_stays_and_its_leaf_is_not_issued_at_every_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tls, "CA_DAYS", 10)
        tls.ensure(tmp_path, names=NAMES)
    ca = load(tmp_path / "ca.crt")
    assert load(tmp_path / "server.crt").not_valid_after_utc <= ca.not_valid_after_utc
    assert not tls.ensure(tmp_path, names=NAMES)
    assert load(tmp_path / "ca.crt") == ca


def test_a_ca_without_its_key_serves_on_and_refuses_to_sign(folder: Path) -> None:
    (folder / "ca.key").unlink()
    assert not tls.ensure(folder, names=NAMES)
    with pytest.raises(ValueError, match=r"ca\.key is missing.*backup.*--new-authority"):
        tls.renew(folder, names=NAMES)


def test_a_key_of_another_ca_does_not_sign(folder: Path, tmp_path: Path) -> None:
    tls.ensure(tmp_path / "other", names=NAMES)
    (folder / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    before = (folder / "server.crt").read_bytes()
    with pytest.raises(ValueError, match="does not belong to"):
        tls.renew(folder, names=NAMES)
    assert (folder / "server.crt").read_bytes() == before


def test_an_expired_ca_does_not_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tls, "CA_DAYS", 0)
        with pytest.raises(ValueError, match=r"expired on .*--new-authority"):
            tls.ensure(tmp_path, names=NAMES)
    assert not (tmp_path / "server.crt").exists()


def test_a_new_authority_keeps_the_old_one_beside_it(folder: Path) -> None:
    old = (folder / "ca.crt").read_bytes()
    tls.replace_ca(folder, names=NAMES)
    assert (folder / "ca.crt").read_bytes() != old
    assert [path.read_bytes() for path in folder.glob("ca-*.crt")] == [old]
    load(folder / "server.crt").verify_directly_issued_by(load(folder / "ca.crt"))


# -- a certificate of the user's own -------------------------------------------------------------
def test_a_sound_pair_passes(folder: Path) -> None:
    tls.check_pair(folder / "server.crt", folder / "server.key", host="Registry.Example.NET")
    tls.check_pair(folder / "server.crt", folder / "server.key", host="127.0.0.1")


def test_what_is_wrong_with_a_pair_is_one_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls.ensure(tmp_path / "other", names=NAMES)
    certificate, key = folder / "server.crt", folder / "server.key"
    junk = tmp_path / "junk.pem"
    junk.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    locked = tmp_path / "locked.key"
    run("openssl", "ec", "-aes128", "-passout", "pass:x", "-in", key, "-out", locked)
    for pair, host, sentence in [
        ((certificate, tmp_path / "none.key"), "", "cannot be read: No such file"),
        ((tmp_path / "none.crt", key), "", "cannot be read: No such file"),
        ((certificate, tmp_path / "other/server.key"), "", "does not belong to"),
        ((junk, key), "", "is not a certificate in PEM form"),
        ((certificate, junk), "", "is not a private key in PEM form"),
        ((certificate, locked), "", "has a password"),
        ((certificate, key), "other.net", "is for registry.example.net, .* not for other.net"),
    ]:
        with pytest.raises(ValueError, match=sentence) as caught:
            tls.check_pair(*pair, host=host or "localhost")
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(tls, "LEAF_DAYS", 0)
    tls.renew(folder, names=NAMES)
    with pytest.raises(ValueError, match="expired on"):
        tls.check_pair(certificate, key, host="localhost")


def test_wildcards_cover_one_level() -> None:
    when = datetime.now(UTC)
    own = tls.Certificate("", ("*.example.net", "10.0.0.1"), when, when, "", "", "", False, ())
    assert own.covers("A.Example.net")
    assert own.covers("10.0.0.1")
    assert not own.covers("example.net")
    assert not own.covers("a.b.example.net")
    assert not own.covers("10.0.0.2")
