"""Pushes of the same new tags by several at once, through one or two proxies."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

from registryui import proxy

from .fake_source import CONFIG, IMAGE, LAYER, descriptor, digest_of, encode
from .product import Connection, Product
from .waiting import LONGEST

AT_ONCE = 8  # pushes of one tag
CONFIGURATION, CONTENT = b'{"os":"linux","architecture":"amd64"}', b"a layer"


def race(
    hosts: Sequence[Product], user: tuple[str, str], repository: str, pushes: int, rule: str
) -> None:
    """So many pushes of tags that are immutable by that rule, each tag by AT_ONCE at the same time,
    each with another image; somebody deletes what they push meanwhile. One of each is taken and
    stays, every other request is a 403 that names the rule."""
    upload(hosts[0], repository)
    tags = [f"v{number}" for number in range(pushes // AT_ONCE)]
    won: dict[str, list[str]] = {tag: [] for tag in tags}
    seen: Counter[int] = Counter()
    start, over = threading.Barrier(AT_ONCE), threading.Event()

    def push(number: int) -> None:
        with closing(Client(hosts[number % len(hosts)], user, repository)) as client:
            for tag in tags:
                raw = image(f"{tag} {number}")
                start.wait(LONGEST)
                status, digest, words = client.ask("PUT", tag, raw)
                seen[status] += 1
                if status == 201:
                    assert digest == digest_of(raw)
                    won[tag].append(digest)
                else:
                    assert (status, rule in words) == (403, True), (status, words)

    def delete() -> None:
        dice = random.Random(1)
        with closing(Client(hosts[-1], user, repository)) as client:
            while not over.is_set():
                if made := [tag for tag in tags if won[tag]]:
                    status, _digest, words = client.ask("DELETE", won[dice.choice(made[-9:])][0])
                    assert (status, rule in words) == (403, True), (status, words)

    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        deleting = pool.submit(delete)
        try:
            list(pool.map(push, range(AT_ONCE)))
        finally:
            start.abort()
            over.set()
        deleting.result()
    assert seen == {201: len(tags), 403: len(tags) * (AT_ONCE - 1)}
    with closing(Client(hosts[0], user, repository)) as client:
        for tag in tags:
            assert len(won[tag]) == 1
            assert client.ask("HEAD", tag)[:2] == (200, won[tag][0]), tag


def upload(boathouse: Product, repository: str) -> None:
    """The two blobs of `image`."""
    for blob in (CONFIGURATION, CONTENT):
        path = f"/v2/{repository}/blobs/uploads/"
        place = urlsplit(boathouse.ask(path, method="POST", as_user=True).headers["location"])
        path = f"{place.path}?{place.query}&digest={digest_of(blob)}"
        kind = {"Content-Type": "application/octet-stream"}
        done = boathouse.ask(path, method="PUT", body=blob, headers=kind, as_user=True)
        assert done.status == 201, done


def image(note: str) -> bytes:
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(CONFIG, CONFIGURATION),
            "layers": [descriptor(LAYER, CONTENT)],
            "annotations": {"note": note},
        }
    )


class Client:
    """A connection of a registry user that stays open."""

    def __init__(self, boathouse: Product, user: tuple[str, str], repository: str) -> None:
        self._connection = Connection(boathouse.host, boathouse.port, timeout=LONGEST)
        self._connection.address = boathouse.address
        self._connection.context = ssl.create_default_context(cafile=str(boathouse.ca))
        self._place = f"/v2/{repository}/manifests"
        self._login = proxy.basic(*user)

    def ask(self, method: str, reference: str, body: bytes | None = None) -> tuple[int, str, str]:
        """Status, digest, and the words of a refusal."""
        headers = {**self._login, "Content-Type": IMAGE, "Accept": IMAGE}
        self._connection.request(method, f"{self._place}/{reference}", body, headers)
        answer: http.client.HTTPResponse = self._connection.getresponse()
        said = answer.read()
        words = json.loads(said)["errors"][0]["message"] if answer.status == 403 else ""
        return answer.status, answer.headers.get("Docker-Content-Digest", ""), words

    def close(self) -> None:
        self._connection.close()
