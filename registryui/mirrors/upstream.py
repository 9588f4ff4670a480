"""Asks an upstream now, for people who wait: can it be used, and which tags does a repository have.

By the same client as the mirror service's (mirror_service/upstream.py), so that what a check finds
holds for pulls. Docker Hub counts none of these requests.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from registryui.mirror_service import failures
from registryui.mirror_service import mirrors as service_mirrors
from registryui.mirror_service.state import StateFile
from registryui.mirror_service.upstream import Upstream
from registryui.models import Mirror
from registryui.oci import names
from registryui.refused import Refused

from . import mirrors, publish, state
from .presets import DOCKER_HUB
from .words import error_words

MOST_BYTES = 4 * 1024 * 1024  # of an answer
MOST_TAGS = 1000
_PER_REQUEST = 100
# Docker's own repository to ask for the limit by HEAD: docs.docker.com, "Docker Hub rate limit".
_LIMIT_REPOSITORY = "ratelimitpreview/test"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. `error` "": the upstream can be used; else a sentence."""

    error: str
    seconds: float  # that it took
    has_login: bool  # the upstream accepted the user and password
    limit: state.Limit | None = None

    @property
    def is_ok(self) -> bool:
        return not self.error


@dataclass(frozen=True, slots=True)
class Tags:
    """Of a repository at the upstream, highest version first. `is_cut`: there are more."""

    tags: tuple[str, ...]
    is_cut: bool


def check(row: Mirror) -> Checked:
    """Is it reachable, is its certificate trusted, does it accept the login, what is left of its
    limit. Also of a disabled mirror."""
    began = time.monotonic()
    limit, error = None, ""
    try:
        with _asking(row) as asking:
            _login(asking, row)
            limit = _limit(asking) if row.url == DOCKER_HUB else None
    except Refused as refused:
        error = str(refused)
    seconds = time.monotonic() - began
    return Checked(error, seconds, has_login=bool(row.user) and not error, limit=limit)


def tags(row: Mirror, repository: str) -> Tags:
    """The tags of that repository there, as far as MOST_TAGS. Raises Refused: it has none of that
    name, the mirror does not offer it, or the upstream does not answer."""
    try:
        names.check_repository(repository)
    except ValueError as error:
        raise Refused(
            _("“%(name)s” is not a repository name.") % {"name": repository[:255]}
        ) from error
    with _asking(row) as asking:
        if not asking.mirror.allows(repository):
            raise Refused(
                _(
                    "The mirror %(mirror)s does not offer %(name)s: see its allowed and denied "
                    "repositories."
                )
                % {"mirror": row.name, "name": repository}
            )
        found, is_cut = _listed(asking, asking.mirror.upstream_name(repository))
    newest = sorted(filter(names.is_tag, found), key=names.version_key, reverse=True)
    return Tags(tuple(newest), is_cut)


@contextmanager
@sensitive_variables()
def _asking(row: Mirror) -> Iterator[Upstream]:
    """A client of the service of our own: what it notes is not the service's state. What goes wrong
    is Refused, in words."""
    facts: dict[str, Any] = publish.upstream(row)
    del facts["secret"]
    facts |= {name: tuple(facts[name]) for name in ("allow", "deny")}
    made = service_mirrors.Mirror(**facts, password=mirrors.password(row))
    asking = Upstream(made, StateFile(Path(os.devnull), Event()))
    try:
        yield asking
    except failures.Denied as error:
        words = _("The upstream requires a user and password.")
        if row.user:
            words = _("The upstream does not accept the user and password.")
        raise Refused(words) from error
    except failures.Failure as error:
        raise Refused(
            _("The upstream does not answer: %(reason)s.")
            % {"reason": error_words(reason(error))[:300]}
        ) from error
    finally:
        asking.close()


def reason(error: failures.Failure) -> str:
    """What is in brackets in `URL is unavailable (it refuses connections)`; else all of it."""
    found = re.fullmatch(r"\S+ is unavailable \((.*)\)", str(error), re.DOTALL)
    return found[1] if found else str(error)


def _login(asking: Upstream, row: Mirror) -> None:
    """Refused unless /v2/ answers as a registry, and accepts the login if there is one."""
    repository = _LIMIT_REPOSITORY if row.url == DOCKER_HUB else ""
    status, headers, _body = answer(asking, "/v2/", repository)
    challenge = headers.get("www-authenticate", "").lower()
    # A token for no repository may not open /v2/: that there is one is the proof.
    if status == 401 and challenge.startswith("basic"):
        raise failures.Denied("")
    if status != 200 and not (status == 401 and challenge.startswith("bearer ")):
        raise unexpected(status)


def _limit(asking: Upstream) -> state.Limit | None:
    """Of Docker Hub; None for accounts without one."""
    path = f"/v2/{_LIMIT_REPOSITORY}/manifests/latest"
    _status, headers, _body = answer(asking, path, _LIMIT_REPOSITORY, method="HEAD")
    whole, window = _counted(headers.get("ratelimit-limit", ""))
    left, _window = _counted(headers.get("ratelimit-remaining", ""))
    return state.Limit(whole, left, window) if whole else None


def _listed(asking: Upstream, repository: str) -> tuple[list[str], bool]:
    """The tags as the upstream lists them, and whether there are more."""
    path = f"/v2/{repository}/tags/list?n={_PER_REQUEST}"
    found: list[str] = []
    while path and len(found) < MOST_TAGS:
        status, headers, body = answer(asking, path, repository)
        if status in (401, 403, 404):
            raise Refused(
                _("The upstream has no repository %(name)s, or it is not public.")
                % {"name": repository}
            )
        if status != 200:
            raise unexpected(status)
        found += _names(body)
        path = next_page(asking.mirror.url, headers.get("link", ""), path)
    return found[:MOST_TAGS], bool(path) or len(found) > MOST_TAGS


def next_page(url: str, link: str, path: str) -> str:
    """The path of the next page; "" for none, and for one on another host."""
    target = re.match(r"<([^>]{1,2000})>", link)
    parts = urlsplit(urljoin(url + path, target[1])) if target else None
    if parts is None or f"{parts.scheme}://{parts.netloc}" != url:
        return ""
    following = f"{parts.path}?{parts.query}"
    return following if following != path else ""


def answer(
    asking: Upstream, path: str, repository: str, *, method: str = "GET", limit: int = MOST_BYTES
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers by their small names, and the body. failures.Failure; Refused."""
    with asking.ask(path, repository, method=method) as found:
        headers = {name.lower(): value for name, value in found.headers.items()}
        try:
            body = found.read(limit) if method == "GET" else b""
        except (OSError, HTTPException, ValueError) as error:
            raise unexpected(found.status) from error
        return found.status, headers, body


def unexpected(status: int) -> Refused:
    """What is said of an answer that no registry gives."""
    if status == 429:
        return Refused(_("The pull limit of the upstream is reached; it asks to try again later."))
    return Refused(
        _("The upstream does not answer like a registry (HTTP status %(status)d).")
        % {"status": status}
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # it is a stranger's
        return {}
    return found if isinstance(found, dict) else {}


def _names(body: bytes) -> list[str]:
    found = _json(body).get("tags")
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _counted(text: str) -> tuple[int, int]:
    """`100;w=21600` as number and seconds; zeros for anything else."""
    match = re.fullmatch(r"(\d{1,9})(?:;w=(\d{1,9}))?", text.strip())
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)
