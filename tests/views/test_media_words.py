"""Media types in words, in both languages."""

import pytest
from django.utils import translation

from registryui.oci import media_types
from registryui.views.catalogue.media_words import TRANSLATED, media_words


def test_every_word_of_oci_can_be_translated() -> None:
    layers = {
        media_types.words(kind)
        for kind in (
            media_types.OCI_LAYER,
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            f"{media_types.OCI_LAYER}+encrypted",
        )
    }
    assert set(TRANSLATED) == {*media_types._WORDS.values(), *layers}


@pytest.mark.parametrize(
    ("media_type", "english", "chinese"),
    [
        (media_types.OCI_INDEX, "OCI image index", "OCI 镜像索引"),
        (media_types.OCI_LAYER, "Layer", "层"),
        (f"{media_types.OCI_LAYER}+encrypted", "Encrypted layer", "加密层"),
        ("application/vnd.sylabs.sif.config.v1+json", "SIF image", "SIF 镜像"),
        (media_types.HELM_CHART, "Helm chart", "Helm chart"),
        ("application/x+json", "application/x+json", "application/x+json"),
        ("Pulls", "Pulls", "Pulls"),  # a word of the catalogue that a stranger wrote
        ("", "", ""),
    ],
)
def test_words_are_said_in_the_language_of_the_page(
    media_type: str, english: str, chinese: str
) -> None:
    assert media_words(media_type) == english
    with translation.override("zh-hans"):
        assert media_words(media_type) == chinese
