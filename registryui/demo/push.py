"""Pushes the demo images like any client: blobs, then manifests, then tags."""

import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from registryui.accounts import publish, users
from registryui.models import RegistryUser
from registryui.registry.client import RegistryClient

from .build import Made
from .images import DemoRepository

USER = "demo"
AT_ONCE = 4  # concurrent blobs


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result for one reference."""

    repository: str
    tag: str
    digest: str
    was_there: bool  # the tag already had this digest: nothing was sent


def push(client: RegistryClient, repositories: Iterable[DemoRepository]) -> Iterator[Pushed]:
    """Pushes what is missing; yields each tag when it is done. Raises RegistryError.

    A tag that somebody moved to another digest is moved back.
    """
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="demo") as pool:
        for repository in repositories:
            sent: set[bytes] = set()
            for made in repository.made:
                yield from _push_one(client, repository.name, made, sent=sent, pool=pool)


def _push_one(
    client: RegistryClient, repository: str, made: Made, *, sent: set[bytes], pool: Executor
) -> Iterator[Pushed]:
    """One manifest under its tags. `sent`: blobs that the repository has; is added to."""
    digest = made.digest
    known = {tag: client.resolve(repository, tag) == digest for tag in made.tags}
    if not all(known.values()):
        every = (*made.children, made)
        blobs = {blob for one in every for blob in one.blobs} - sent
        list(pool.map(lambda blob: client.upload_blob(repository, blob), blobs))
        sent |= blobs
        for child in made.children:
            client.put_manifest(repository, child.digest, child.raw, child.media_type)
    for tag, was_there in known.items():
        if not was_there:
            client.put_manifest(repository, tag, made.raw, made.media_type)
        yield Pushed(repository, tag, digest, was_there)


@contextmanager
def temporary_user() -> Iterator[tuple[str, str]]:
    """Name and secret of a registry user for this block: "demo" if that is free.

    After a kill -9 the user's access expires an hour later.
    """
    end = timezone.now() + timedelta(hours=1)
    taken = USER in publish.lines() or RegistryUser.objects.filter(name=USER).exists()
    name = f"{USER}-{secrets.token_hex(4)}" if taken else USER
    made = users.create(name, by="demo", may=users.ADOPTED, expires_at=end)
    try:
        yield name, made.secret
    finally:
        users.remove(made.users, by="demo")
