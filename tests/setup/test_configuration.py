"""What nginx and the registry read: accepted by nginx itself, and never put live when it is not."""

import json
import re
import socket
import stat
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from registryui import sockets
from registryui.refused import Refused
from registryui.setup import configuration, data, data_path, parts, ports
from tests.support.data_folder import folder

__all__ = ["folder"]  # the fixture


@pytest.mark.parametrize("registry_port", [0, 5001])
def test_nginx_accepts_what_is_rendered(folder: Path, registry_port: int) -> None:
    text = configuration.render_nginx(registry_port=registry_port, hook_port=8001)
    configuration.put_nginx(text)
    text = configuration.nginx_file().read_text()
    for line in ("client_max_body_size 0", "proxy_request_buffering off", "TLSv1.2 TLSv1.3"):
        assert line in text
    assert "%{" not in text.split("\n\n", 1)[1]


def test_a_portal_that_hangs_is_not_waited_for_like_a_registry(folder: Path) -> None:
    text = configuration.render_nginx(registry_port=5001, hook_port=8001)
    search, registry = text.split("location = /v1/search {")[1].split("location /v2/ {")
    assert re.findall(r"proxy_read_timeout (\d+)s;", search) == ["20"]
    assert "900" in re.findall(r"proxy_read_timeout (\d+)s;", registry)


def test_a_bad_configuration_is_never_put_live(folder: Path) -> None:
    good = configuration.render_nginx(registry_port=5001, hook_port=8001)
    configuration.put_nginx(good)
    with pytest.raises(Refused):
        configuration.put_nginx(good.replace("server {", "server { nonsense on;", 1))
    assert configuration.nginx_file().read_text() == good


def test_only_nginx_may_enter_the_folder_of_the_sockets(folder: Path) -> None:
    place = folder / "run" / "sockets"
    for before in (0o777, 0o700, 0o755):
        place.chmod(before)
        data.make()
        found = place.stat()
        # pytest's own folder lets nginx's user not pass: then nginx's workers are ours.
        assert stat.S_IMODE(found.st_mode) == (0o700 if data.closed_folder() else 0o2710)
    text = configuration.render_nginx(registry_port=5001, hook_port=8001)
    assert f'server "unix:{place}/web"' in text


def test_a_path_that_is_too_long_for_a_socket_is_refused() -> None:
    data_path.check_path(Path("/" + "x" * (data_path.LONGEST_PATH - 1)))
    with pytest.raises(Refused, match=r"more than 85 bytes.*BOATHOUSE_DATA"):
        data_path.check_path(Path("/" + "x" * (data_path.LONGEST_PATH - 2) + "é"))


def test_the_port_of_an_older_release_is_given_up(folder: Path, settings: object) -> None:
    """The registry then listens on sockets, whoever has the port now."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(1)
        port = int(busy.getsockname()[1])
        (folder / "run" / "ports.json").write_text(json.dumps({"registry": port, "web": 8000}))
        settings.REGISTRY_PORT = port  # type: ignore[attr-defined]
        chosen = ports.choose()
        chosen.release()
    assert chosen.ports == {"registry": 0, "hook": chosen.ports["hook"]}


def test_a_port_of_the_registry_is_taken_as_it_is_set(folder: Path, settings: object) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(1)
        port = int(busy.getsockname()[1])
        settings.WANTED_REGISTRY_PORT = port  # type: ignore[attr-defined]
        with pytest.raises(data.Refused, match=f"Port {port} is held by .*BOATHOUSE_REGISTRY_PORT"):
            ports.choose()
    chosen = ports.choose()
    chosen.release()
    assert chosen.ports["registry"] == port
    kept = json.loads((folder / "run" / "ports.json").read_text())
    assert kept["registry"] == port  # for commands that are typed without the variable


def test_the_registry_listens_on_a_socket_and_caches_no_descriptors(folder: Path) -> None:
    text = configuration.render_registry(registry_port=5001, hook_port=8001)
    assert re.search(r"net: [\"']?tcp[\"']?\s+addr: [\"']?127\.0\.0\.1:5001", text)
    text = configuration.render_registry(registry_port=0, hook_port=8001)
    place = re.escape(str(sockets.registry("registry")))
    assert re.search(rf"net: [\"']?unix[\"']?\s+addr: [\"']?{place}[\"']?\s", text)
    assert "blobdescriptor" not in text
    assert re.search(r"delete:\s+enabled: true", text)


def test_another_registry_is_run_where_one_is_chosen(settings: Settings) -> None:
    settings.REGISTRY_PROGRAM = ""
    assert configuration.registry_program() == "/usr/bin/docker-registry"
    settings.REGISTRY_PROGRAM = "/opt/registry"
    assert parts.registry_command()[4] == "/opt/registry"


def test_the_registry_tells_nobody_of_requests_unless_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OTEL_TRACES_EXPORTER", raising=False)
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/elsewhere")
    found = parts.registry_environment("registry")
    assert found["OTEL_TRACES_EXPORTER"] == "none"
    assert not [name for name in found if name.startswith("REGISTRY_")]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    assert parts.registry_environment("registry")["OTEL_TRACES_EXPORTER"] == "otlp"


def test_a_file_in_place_of_the_data_folder_is_one_sentence(
    tmp_path: Path, settings: object
) -> None:
    place = tmp_path / "file"
    place.write_text("not a folder")
    settings.DATA = place  # type: ignore[attr-defined]
    with pytest.raises(Refused) as refused:
        data.make()
    assert str(place) in str(refused.value)
    assert "BOATHOUSE_DATA" in str(refused.value)
    assert place.read_text() == "not a folder"
