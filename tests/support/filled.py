"""A registry with something of every kind."""

from __future__ import annotations

from typing import Any

from tests.support.fake_source import CONFIG, IMAGE, LAYER, descriptor, digest_of, encode
from tests.support.registries import DOCKER_CONFIG, DOCKER_LAYER, LIST, SCHEMA2, Registry, pretty
from tests.support.registry_habits import habits


def fill(real: Registry) -> dict[str, tuple[str, str]]:
    """Pushes one of each; returns digest and kind by "repository:tag"."""
    made: dict[str, tuple[str, str]] = {}

    def note(repository: str, tag: str, digest: str, kind: str) -> str:
        made[f"{repository}:{tag}"] = (digest, kind)
        return digest

    name = "all/image"
    image = note(name, "1", real.push_image(name, "1"), "image")
    note(name, "docker", real.push_image(name, "docker", media_types=DOCKER_TYPES), "image")
    _add_referrers(real, name, image, note)

    name = "all/multi"
    two = [
        real.child(name, real.push_image(name, architecture=one), architecture=one)
        for one in ("amd64", "arm64")
    ]
    attestation = _attestation(real, name, two[0]["digest"])
    multi = real.push_index(name, [*two, attestation], "multi")
    note(name, "multi", multi, "image index")
    docker = real.push_image(name, media_types=DOCKER_TYPES)
    entries = [real.child(name, docker, architecture="amd64")]
    note(name, "list", real.push_index(name, entries, "list", mediaType=LIST), "image index")
    note(name, "empty", real.push_index(name, [], "empty"), "image index")
    inner = real.child(name, multi)
    note(name, "nested", real.push_index(name, [inner], "nested"), "image index")

    name = "all/cache"
    blobs = [descriptor(LAYER, one) for one in (b"cached", b"also cached")]
    for one in (b"cached", b"also cached"):
        real.push_blob(name, one)
    config = descriptor("application/vnd.buildkit.cacheconfig.v0", b"{}")
    real.push_blob(name, b"{}")
    if habits().takes_indexes_of_blobs:
        note(name, "buildkit", real.push_index(name, [*blobs, config], "buildkit"), "cache")
    raw = encode({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": blobs})
    note(name, "buildkit-0.21", real.push(name, raw, IMAGE, "buildkit-0.21"), "cache")

    note("all/chart", "1.0.0", _chart(real, "all/chart", "1.0.0"), "artifact")
    note("all/odd", "no-config", _empty_config(real, "all/odd", "no-config"), "image")
    note("all/odd", "foreign", _foreign(real, "all/odd", "foreign"), "image")
    # A subject that is not there, and a deep name with words of the API in it.
    lonely: dict[str, Any] = {"subject": descriptor(IMAGE, b"nobody"), "annotations": {"who": "me"}}
    deep = "all/a/manifests/b/tags/list/c/blobs/d"
    note(deep, "lonely", real.push_image(deep, "lonely", **lonely), "image")
    return made


DOCKER_TYPES = (SCHEMA2, DOCKER_CONFIG, DOCKER_LAYER)


def _add_referrers(real: Registry, name: str, image: str, note: Any) -> None:
    """What cosign and clients without a referrers API push beside an image."""
    tag = image.replace(":", "-")
    raw = real.get(name, image).body
    referrer = _artifact(
        real, name, "application/spdx+json", b'{"sbom": 1}', subject=descriptor(IMAGE, raw)
    )
    entry = {**real.child(name, referrer), "artifactType": "application/spdx+json"}
    note(name, tag, real.push_index(name, [entry], tag), "image index")
    layer = "application/vnd.dev.cosign.simplesigning.v1+json"
    for suffix in ("sig", "att", "sbom"):
        media_types = (IMAGE, CONFIG, layer)
        content = (f"{suffix} of {image}".encode(),)
        pushed = real.push_image(name, f"{tag}.{suffix}", layers=content, media_types=media_types)
        note(name, f"{tag}.{suffix}", pushed, "artifact")


def _attestation(real: Registry, name: str, subject: str) -> dict[str, Any]:
    """A child for platform unknown/unknown, as BuildKit adds one for provenance."""
    layer = "application/vnd.in-toto+json"
    digest = real.push_image(
        name,
        layers=(b'{"_type": "x"}',),
        architecture="unknown",
        media_types=(IMAGE, CONFIG, layer),
    )
    return {
        **real.child(name, digest),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": subject,
        },
    }


def _chart(real: Registry, name: str, tag: str) -> str:
    config, chart = pretty({"name": "web", "version": tag}), b"a tar of a chart"
    for blob in (config, chart):
        real.push_blob(name, blob)
    raw = pretty(
        {
            "schemaVersion": 2,
            "config": descriptor("application/vnd.cncf.helm.config.v1+json", config),
            "layers": [
                descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", chart),
            ],
        }
    )
    return real.push(name, raw, IMAGE, tag)


def _empty_config(real: Registry, name: str, tag: str) -> str:
    for blob in (b"{}", b"zstd layer"):
        real.push_blob(name, blob)
    zstd = "application/vnd.oci.image.layer.v1.tar+zstd"
    raw = pretty(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(CONFIG, b"{}"),
            "layers": [descriptor(zstd, b"zstd layer")],
        }
    )
    return real.push(name, raw, IMAGE, tag)


def _foreign(real: Registry, name: str, tag: str) -> str:
    config = encode({"os": "windows", "architecture": "amd64"})
    real.push_blob(name, config)
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    layer = descriptor(foreign, b"elsewhere", urls=["https://example.com/layer"])
    raw = encode(
        {
            "schemaVersion": 2,
            "mediaType": SCHEMA2,
            "config": descriptor(DOCKER_CONFIG, config),
            "layers": [layer],
        }
    )
    assert digest_of(raw)
    return real.push(name, raw, SCHEMA2, tag)


def _artifact(real: Registry, name: str, kind: str, data: bytes, *tags: str, **more: Any) -> str:
    """An OCI 1.1 artifact: the empty config and one layer of any type."""
    empty = "application/vnd.oci.empty.v1+json"
    for blob in (b"{}", data):
        real.push_blob(name, blob)
    raw = encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "artifactType": kind,
            "config": descriptor(empty, b"{}"),
            "layers": [descriptor(kind, data)],
            **more,
        }
    )
    return real.push(name, raw, IMAGE, *tags)
