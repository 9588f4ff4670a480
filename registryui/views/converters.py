"""How names are written in an address. The patterns are the registry's own, from oci.names."""

from registryui.oci.names import DIGEST, REPOSITORY, TAG


class _Text:
    """A name is itself in an address: none of its characters needs escaping."""

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class RepositoryConverter(_Text):
    regex = REPOSITORY


class TagConverter(_Text):
    regex = TAG


class DigestConverter(_Text):
    regex = DIGEST
