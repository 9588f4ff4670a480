"""What a media type means, in the reader's language: oci/ knows the words, and no language."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from registryui.oci import media_types
from registryui.views.plain_text import line

# The words of oci/media_types.py, said here once for the catalogue.
TRANSLATED = (
    gettext_noop("OCI image index"),
    gettext_noop("OCI image manifest"),
    gettext_noop("OCI artifact manifest"),
    gettext_noop("OCI image config"),
    gettext_noop("empty config"),
    gettext_noop("Docker manifest list"),
    gettext_noop("Docker manifest"),
    gettext_noop("Docker manifest, schema 1"),
    gettext_noop("Docker image config"),
    gettext_noop("Docker plugin"),
    gettext_noop("Helm chart"),
    gettext_noop("Helm provenance"),
    gettext_noop("cosign signature"),
    gettext_noop("Sigstore bundle"),
    gettext_noop("signed attestation"),
    gettext_noop("Notary signature"),
    gettext_noop("in-toto attestation"),
    gettext_noop("SPDX bill of materials"),
    gettext_noop("CycloneDX bill of materials"),
    gettext_noop("Syft bill of materials"),
    gettext_noop("BuildKit cache"),
    gettext_noop("WebAssembly module"),
    gettext_noop("Open Policy Agent bundle"),
    gettext_noop("Flux configuration"),
    gettext_noop("CNAB bundle"),
    gettext_noop("Ollama model"),
    gettext_noop("SIF image"),
    gettext_noop("Compose application"),
    gettext_noop("Compose file"),
    gettext_noop("environment file"),
    gettext_noop("AI model"),
    gettext_noop("model weights"),
    gettext_noop("KitOps ModelKit"),
    gettext_noop("Kyverno policy"),
    gettext_noop("Falco rules"),
    gettext_noop("Falco plugin"),
    gettext_noop("SOCI index"),
    gettext_noop("Bicep module"),
    gettext_noop("OpenTofu module"),
    gettext_noop("OpenTofu provider"),
    gettext_noop("Trivy database"),
    gettext_noop("Spin application"),
    gettext_noop("Timoni module"),
    gettext_noop("OCM component"),
    gettext_noop("Dev Container feature"),
    gettext_noop("artifact"),
    gettext_noop("layer"),
    gettext_noop("foreign layer"),
    gettext_noop("encrypted layer"),
)


def media_words(media_type: str, limit: int = 255) -> str:
    """The words as they begin a line. A media type that has none stays as it is, cut; "" of ""."""
    words = line(media_types.words(media_type), limit)
    if not words or "/" in words:
        return words
    # Whoever pushes chooses the type: a text that is no word of ours is not looked up.
    said = _(words) if words in TRANSLATED else words
    return said[:1].upper() + said[1:]
