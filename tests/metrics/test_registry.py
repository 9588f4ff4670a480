"""The registry's own metrics, from the real registry with the configuration that `up` writes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from registryui import metrics, sockets
from registryui.metrics import own_registry
from registryui.setup import configuration, keys, parts
from tests.support.folders import open_folder
from tests.support.instance import wait_for
from tests.support.parts import free_port
from tests.support.waiting import LONGEST


def test_no_port_is_open_for_them_by_default(settings: Settings, tmp_path: Path) -> None:
    settings.SECRETS_DIR = tmp_path
    keys.make()
    text = configuration.render_registry(registry_port=0, hook_port=1)
    assert yaml.safe_load(text)["http"]["debug"] == {}
    assert parts.registry_socket("blobs").keys() == {"REGISTRY_HTTP_ADDR"}
    settings.METRICS_REGISTRY_PORT = 5001
    text = configuration.render_registry(registry_port=0, hook_port=1)
    assert yaml.safe_load(text)["http"]["debug"]["addr"] == "127.0.0.1:5001"
    assert parts.registry_socket("blobs")["REGISTRY_HTTP_DEBUG_ADDR"] == "127.0.0.2:5001"


def test_metrics_of_two_processes_are_told_apart_and_one_that_is_down_is_left_out(
    settings: Settings, request: pytest.FixtureRequest
) -> None:
    with open_folder("metrics") as folder:
        settings.DATA = settings.SECRETS_DIR = settings.CONFIG_DIR = folder
        settings.STORE_DIR, settings.SOCKETS_DIR = folder / "registry", folder
        settings.REGISTRY_PORT, settings.METRICS_REGISTRY_PORT = 0, free_port()
        keys.make()
        file = configuration.registry_file()
        file.write_text(configuration.render_registry(registry_port=0, hook_port=free_port()))
        for name in ("registry", "blobs"):
            process = subprocess.Popen(
                parts.registry_command(),
                env={**os.environ, **parts.registry_environment(name)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            request.addfinalizer(lambda one=process: (one.terminate(), one.wait(LONGEST)))
            wait_for(sockets.registry(name))
        text = metrics.text(own_registry.metrics()).decode()
    found = {
        (sample.labels["process"], sample.name): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for name in ("registry", "blobs"):
        assert found[name, "process_resident_memory_bytes"] > 0
    assert {process for process, _name in found} == {"registry", "blobs"}
    assert text.count("# TYPE process_resident_memory_bytes gauge") == 1
