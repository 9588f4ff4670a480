"""Artifacts for the demo, as programs write them.

The signature is noise: it names its subject, but cannot be verified.
"""

import base64
import json
from dataclasses import replace
from random import Random

from registryui.oci import media_types

from .build import Json, Layer, Made, descriptor, encode, image_index, manifest, pack

_BUILD_TYPE = "https://mobyproject.org/buildkit@v1"


def cosign_signature(subject: Made, repository: str) -> Made:
    """A signature as cosign pushes it: found by its tag, `sha256-<hex>.sig`."""
    payload = encode(
        {
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": subject.digest},
                "type": "cosign container image signature",
            },
            "optional": {"note": "created by ./boathouse demo, unsigned"},
        }
    )
    noise = Random(subject.digest).randbytes(70)  # noqa: S311  (not a signature)
    return manifest(
        encode({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers"}}),
        [payload],
        types=(media_types.OCI_MANIFEST, media_types.OCI_CONFIG, media_types.COSIGN_SIGNATURE),
        layer_annotations={"dev.cosignproject.cosign/signature": base64.b64encode(noise).decode()},
    ).tagged(f"{_fallback_tag(subject)}.sig")


def bill_of_materials(subject: Made, name: str, packages: dict[str, str], created: str) -> Made:
    """An SPDX document with `subject`, in the image index by which it is found.

    Our registry has no API of referrers, so clients keep that image index under the tag
    `sha256-<hex>` (distribution-spec, Referrers Tag Schema).
    """
    document = encode(_spdx(name, packages, created))
    sbom = manifest(
        b"{}",
        [document],
        types=(media_types.OCI_MANIFEST, media_types.OCI_EMPTY, media_types.SPDX),
        artifactType=media_types.SPDX,
        subject=descriptor(subject.raw, subject.media_type),
        annotations={"org.opencontainers.image.created": created},
    )
    index = image_index(more=[sbom.descriptor(artifactType=media_types.SPDX)])
    return replace(index, children=(sbom,), tags=(_fallback_tag(subject),))


def _fallback_tag(subject: Made) -> str:
    return subject.digest.replace(":", "-")


def _spdx(name: str, packages: dict[str, str], created: str) -> Json:
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "creationInfo": {"created": created, "creators": ["Tool: boathouse-demo"]},
        "packages": [
            {"name": package, "versionInfo": version, "SPDXID": f"SPDXRef-Package-{package}"}
            for package, version in packages.items()
        ],
    }


def with_attestation(*children: Made) -> Made:
    """An image index as BuildKit pushes it, with the first child's provenance at the end."""
    about = children[0]
    provenance = _provenance(about)
    entry = provenance.descriptor(
        annotations={
            "vnd.docker.reference.digest": about.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        }
    )
    index = image_index(*children, more=[entry])
    return replace(index, children=(*children, provenance))


def _provenance(about: Made) -> Made:
    statement = encode(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "subject": [{"name": "_", "digest": {"sha256": about.digest.partition(":")[2]}}],
            "predicate": {
                "builder": {"id": "https://ci.example.com/builds/4711"},
                "buildType": _BUILD_TYPE,
            },
        }
    )
    nowhere: Json = {"architecture": "unknown", "os": "unknown"}
    layer = descriptor(statement, media_types.IN_TOTO)
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    return manifest(
        encode({**nowhere, "config": {}, "rootfs": rootfs}),
        [statement],
        types=(media_types.OCI_MANIFEST, media_types.OCI_CONFIG, media_types.IN_TOTO),
        platform=nowhere,
        layer_annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
    )


def helm_chart(name: str, version: str, created: str) -> Made:
    """A chart as `helm push` pushes it, under its version."""
    about: Json = {
        "name": name,
        "version": version,
        "appVersion": version,
        "apiVersion": "v2",
        "description": "The API and its worker",
        "home": "https://docs.example.com/api",
        "sources": ["https://git.example.com/platform/api"],
        "type": "application",
    }
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in about.items())
    values = f"image:\n  repository: platform/api\n  tag: {version}\nreplicas: 3\n"
    readme = (
        f"# {name}\n\nThe API and its worker.\n\n"
        "| value | default | meaning |\n| --- | --- | --- |\n"
        f"| `image.tag` | `{version}` | the image to run |\n| `replicas` | 3 | of the API |\n"
    )
    chart = pack(
        {
            f"{name}/Chart.yaml": lines.encode(),
            f"{name}/values.yaml": values.encode(),
            f"{name}/README.md": readme.encode(),
            f"{name}/templates/deployment.yaml": b"apiVersion: apps/v1\nkind: Deployment\n",
        }
    )
    return manifest(
        encode(about),
        [chart.blob],
        types=(media_types.OCI_MANIFEST, media_types.HELM_CONFIG, media_types.HELM_CHART),
        annotations={
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.description": str(about["description"]),
            "org.opencontainers.image.created": created,
        },
    ).tagged(version)


def build_cache(layers: list[Layer], created: str) -> Made:
    """A cache as BuildKit exports it since 0.21: a manifest whose config is a record.

    Before, it was an image index of layers, which registry 3 rejects.
    """
    record = encode(
        {
            "layers": [{"blob": descriptor(one.blob, "")["digest"]} for one in layers],
            "records": [{"digest": one.diff_id, "layers": [{"layer": 0}]} for one in layers],
        }
    )
    return manifest(
        record,
        [one.blob for one in layers],
        types=(media_types.OCI_MANIFEST, media_types.BUILDKIT_CACHE, media_types.OCI_LAYER),
        layer_annotations={"buildkit/createdat": created},
    )
