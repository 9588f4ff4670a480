"""The meaning of media types. No other module compares media type strings."""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"  # withdrawn, but still in use
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"  # the config `{}` of an artifact
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
COSIGN_SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
SPDX = "application/spdx+json"
CYCLONEDX = "application/vnd.cyclonedx+json"
BUILDKIT_CACHE = "application/vnd.buildkit.cacheconfig.v0"

_IMAGE_INDEXES = (OCI_INDEX, DOCKER_LIST)
OF_SCHEMA_2 = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)  # that 2.8 can read again
_SCHEMA1 = (DOCKER_SCHEMA1_SIGNED, DOCKER_SCHEMA1)
_MANIFESTS = (*_IMAGE_INDEXES, OCI_MANIFEST, DOCKER_MANIFEST, OCI_ARTIFACT, *_SCHEMA1)
_LAYERS = (
    "application/vnd.oci.image.layer.",  # .v1.tar, +gzip, +zstd, nondistributable, nydus
    "application/vnd.docker.image.rootfs.",  # .diff and .foreign.diff, any compression
    "application/vnd.docker.container.image.rootfs.",  # before Docker 1.10
)

# All in one header. If a type is missing, the registry answers 404, or converts the manifest to
# schema 1 with another digest, or an image index to its amd64.
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT, *_SCHEMA1))

_WORDS = {
    OCI_INDEX: "OCI image index",
    OCI_MANIFEST: "OCI image manifest",
    OCI_ARTIFACT: "OCI artifact manifest",
    OCI_CONFIG: "OCI image config",
    OCI_EMPTY: "empty config",
    DOCKER_LIST: "Docker manifest list",
    DOCKER_MANIFEST: "Docker manifest",
    DOCKER_SCHEMA1_SIGNED: "Docker manifest, schema 1",
    DOCKER_SCHEMA1: "Docker manifest, schema 1",
    DOCKER_CONFIG: "Docker image config",
    "application/vnd.docker.plugin.v1+json": "Docker plugin",
    HELM_CONFIG: "Helm chart",
    HELM_CHART: "Helm chart",
    "application/vnd.cncf.helm.chart.provenance.v1.prov": "Helm provenance",
    COSIGN_SIGNATURE: "cosign signature",
    "application/vnd.dev.cosign.artifact.sig.v1+json": "cosign signature",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "Sigstore bundle",
    "application/vnd.dsse.envelope.v1+json": "signed attestation",
    "application/vnd.cncf.notary.signature": "Notary signature",
    IN_TOTO: "in-toto attestation",
    SPDX: "SPDX bill of materials",
    "text/spdx": "SPDX bill of materials",
    "text/spdx+json": "SPDX bill of materials",
    CYCLONEDX: "CycloneDX bill of materials",
    "application/vnd.cyclonedx+xml": "CycloneDX bill of materials",
    "application/vnd.syft+json": "Syft bill of materials",
    BUILDKIT_CACHE: "BuildKit cache",
    "application/vnd.wasm.config.v0+json": "WebAssembly module",
    "application/vnd.wasm.config.v1+json": "WebAssembly module",
    "application/vnd.cncf.openpolicyagent.config.v1+json": "Open Policy Agent bundle",
    "application/vnd.cncf.flux.config.v1+json": "Flux configuration",
    "application/vnd.cnab.config.v1+json": "CNAB bundle",
    "application/vnd.ollama.image.model": "Ollama model",
    "application/vnd.sylabs.sif.config.v1+json": "SIF image",
    "application/vnd.sylabs.sif.layer.v1.sif": "SIF image",
    "application/vnd.docker.compose.project": "Compose application",
    "application/vnd.docker.compose.config.empty.v1+json": "Compose application",
    "application/vnd.docker.compose.file+yaml": "Compose file",
    "application/vnd.docker.compose.envfile": "environment file",
    "application/vnd.cncf.model.manifest.v1+json": "AI model",
    "application/vnd.cncf.model.config.v1+json": "AI model",
    "application/vnd.docker.ai.model.config.v0.1+json": "AI model",
    "application/vnd.docker.ai.model.config.v0.2+json": "AI model",
    "application/vnd.docker.ai.gguf.v3": "model weights",
    "application/vnd.docker.ai.safetensors": "model weights",
    "application/vnd.kitops.modelkit.manifest.v1+json": "KitOps ModelKit",
    "application/vnd.kitops.modelkit.config.v1+json": "KitOps ModelKit",
    "application/vnd.cncf.kyverno.config.v1+json": "Kyverno policy",
    "application/vnd.cncf.kyverno.policy.layer.v1+yaml": "Kyverno policy",
    "application/vnd.cncf.falco.rulesfile.config.v1+json": "Falco rules",
    "application/vnd.cncf.falco.plugin.config.v1+json": "Falco plugin",
    "application/vnd.amazon.soci.index.v1+json": "SOCI index",
    "application/vnd.amazon.soci.index.v2+json": "SOCI index",
    "application/vnd.ms.bicep.module.artifact": "Bicep module",
    "application/vnd.ms.bicep.module.config.v1+json": "Bicep module",
    "application/vnd.opentofu.modulepkg": "OpenTofu module",
    "application/vnd.opentofu.provider": "OpenTofu provider",
    "application/vnd.opentofu.provider-target": "OpenTofu provider",
    "application/vnd.aquasec.trivy.config.v1+json": "Trivy database",
    "application/vnd.fermyon.spin.application.v1+config": "Spin application",
    "application/vnd.timoni.config.v1+json": "Timoni module",
    "application/vnd.ocm.software.component.config.v1+json": "OCM component",
    "application/vnd.devcontainers": "Dev Container feature",
    "application/vnd.wasm.content.layer.v1+wasm": "WebAssembly module",
    "application/vnd.unknown.config.v1+json": "artifact",  # ORAS, without a given type
}


def bare(media_type: str) -> str:
    """`media_type` of a Content-Type header: no parameters, lower case."""
    return media_type.partition(";")[0].strip().lower()


def is_image_index(media_type: str) -> bool:
    """OCI image index or Docker manifest list."""
    return media_type in _IMAGE_INDEXES


def is_manifest(media_type: str) -> bool:
    """Any manifest that a registry stores, image indexes and schema 1 included."""
    return media_type in _MANIFESTS


def is_schema1(media_type: str) -> bool:
    """Docker's first format, signed or not: no config, no sizes."""
    return media_type in _SCHEMA1


def is_layer(media_type: str) -> bool:
    """A layer of a file system, however compressed, foreign ones included."""
    return media_type.startswith(_LAYERS)


def is_encrypted(media_type: str) -> bool:
    """A layer that only the owner of a key can read (ocicrypt)."""
    return media_type.endswith("+encrypted")


def is_image_config(media_type: str) -> bool:
    """The config of an image that can be run."""
    return media_type in (OCI_CONFIG, DOCKER_CONFIG)


def is_buildkit_cache(media_type: str) -> bool:
    """The record by which BuildKit knows what its cached layers are of."""
    return media_type == BUILDKIT_CACHE


SIGNATURES = tuple(name for name, meaning in _WORDS.items() if meaning.endswith(" signature"))


def words(media_type: str) -> str:
    """A short name for people; the media type itself if we know none."""
    if media_type in _WORDS:
        return _WORDS[media_type]
    if is_layer(media_type):
        if is_encrypted(media_type):
            return "encrypted layer"
        return "foreign layer" if "foreign" in media_type or "nondist" in media_type else "layer"
    return media_type
