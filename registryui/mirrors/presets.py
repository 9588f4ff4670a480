"""Upstreams that most people mean, so that nobody has to look up an address. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

DOCKER_HUB = "https://registry-1.docker.io"
# Names of Docker Hub that are not the address of its registry.
_ALIASES = ("docker.io", "hub.docker.com", "index.docker.io", "www.docker.com", "docker.com")


@dataclass(frozen=True, slots=True)
class Preset:
    """`name` is the preset's and the namespace that is proposed; `url` "": everybody's own."""

    name: str
    label: str
    url: str
    host: str  # as in references: docker.io/library/nginx
    example: str  # an image that is there


PRESETS = (
    Preset("hub", "Docker Hub", DOCKER_HUB, "docker.io", "library/nginx:latest"),
    Preset("ghcr", "GitHub (ghcr.io)", "https://ghcr.io", "ghcr.io", "actions/runner:latest"),
    Preset("quay", "Quay.io", "https://quay.io", "quay.io", "prometheus/node-exporter:latest"),
    Preset("k8s", "Kubernetes", "https://registry.k8s.io", "registry.k8s.io", "pause:3.10"),
    Preset(
        *("mcr", "Microsoft", "https://mcr.microsoft.com", "mcr.microsoft.com"),
        "dotnet/runtime:8.0",
    ),
    Preset("boathouse", "Boathouse", "", "", "team/api:1.0"),
)


def preset(name: str) -> Preset | None:
    """The preset of that name."""
    return next((one for one in PRESETS if one.name == name), None)


def of_url(url: str) -> Preset | None:
    """The preset with that upstream."""
    return next((one for one in PRESETS if one.url and one.url == url), None)


def host_of(url: str) -> str:
    """The host in an image's name at that upstream: "docker.io", "quay.io",
    "registry.example.net:8443"."""
    found = of_url(url)
    return found.host if found else urlsplit(url).netloc


def without_alias(host: str) -> str:
    """The host of Docker Hub's registry for the names people know it by; else `host`."""
    return DOCKER_HUB.removeprefix("https://") if host in _ALIASES else host
