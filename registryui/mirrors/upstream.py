"""Asks an upstream now, for people who wait: can it be used, and which tags does a repository have.

Pulls never come here; they are the mirror service's. Docker Hub counts neither request.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from registryui.failures import in_words
from registryui.models import Mirror
from registryui.oci import names, patterns
from registryui.refused import Refused

from . import mirrors, state
from .presets import DOCKER_HUB

SECONDS = 10  # for each request
MOST_BYTES = 4 * 1024 * 1024  # of an answer
MOST_TAGS = 1000
_PER_REQUEST = 100
# Docker's own repository to ask for the limit by HEAD: docs.docker.com, "Docker Hub rate limit".
_LIMIT_REPOSITORY = "ratelimitpreview/test"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


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
        asking = _Upstream(row)
        asking.login()
        if row.url == DOCKER_HUB:
            limit = asking.limit()
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
    if not offers(row, repository):
        raise Refused(
            _(
                "The mirror %(mirror)s does not offer %(name)s: see its allowed and denied "
                "repositories."
            )
            % {"mirror": row.name, "name": repository}
        )
    found, is_cut = _Upstream(row).tags(name_there(row, repository))
    newest = sorted(filter(names.is_tag, found), key=names.version_key, reverse=True)
    return Tags(tuple(newest), is_cut)


def name_there(row: Mirror, repository: str) -> str:
    """What the upstream calls it: Docker Hub's nginx is library/nginx."""
    return f"library/{repository}" if row.is_library and "/" not in repository else repository


def offers(row: Mirror, repository: str) -> bool:
    """Whether the mirror's patterns let clients pull it."""
    if row.deny and patterns.matcher(row.deny)(repository):
        return False
    return not row.allow or patterns.matcher(row.allow)(repository)


class _Upstream:
    """Requests to one upstream, with the login of its mirror. Each raises Refused."""

    @sensitive_variables()
    def __init__(self, row: Mirror) -> None:
        self._url, self._is_library = row.url, row.is_library
        secret = mirrors.password(row)
        pair = base64.b64encode(f"{row.user}:{secret}".encode()).decode()
        self._basic = f"Basic {pair}" if row.user else ""
        self._authorization = ""
        trusted = ssl.create_default_context()
        if row.ca:
            trusted.load_verify_locations(cadata=row.ca)
        proxies = {"http": row.proxy, "https": row.proxy} if row.proxy else {}
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=trusted),
            urllib.request.ProxyHandler(proxies),
            _NoRedirects,
        )

    def login(self) -> None:
        """Refused unless /v2/ answers as a registry, and accepts the login if there is one."""
        status, headers, _body = self._get("/v2/")
        if status == 401:
            repository = _LIMIT_REPOSITORY if self._url == DOCKER_HUB else ""
            self._authorize(headers, repository)
            # A token without a scope may not open /v2/: the token itself is the proof.
            if not self._authorization.startswith("Basic "):
                return
            status, headers, _body = self._get("/v2/")
        if status != 200:
            raise _unexpected(status)

    def limit(self) -> state.Limit | None:
        """Of Docker Hub; None for accounts without one."""
        path = f"/v2/{_LIMIT_REPOSITORY}/manifests/latest"
        _status, headers, _body = self._get(path, method="HEAD")
        whole, window = _counted(headers.get("ratelimit-limit", ""))
        left, _window = _counted(headers.get("ratelimit-remaining", ""))
        return state.Limit(whole, left, window) if whole else None

    def tags(self, repository: str) -> tuple[list[str], bool]:
        """The tags as the upstream lists them, and whether there are more."""
        path = f"/v2/{quote(repository)}/tags/list?n={_PER_REQUEST}"
        found: list[str] = []
        while path and len(found) < MOST_TAGS:
            status, headers, body = self._get(path)
            if status == 401 and not self._authorization:
                self._authorize(headers, repository)
                status, headers, body = self._get(path)
            if status in (401, 403, 404):
                raise Refused(
                    _("The upstream has no repository %(name)s, or it is not public.")
                    % {"name": repository}
                )
            if status != 200:
                raise _unexpected(status)
            found += _names(body)
            path = self._next(headers.get("link", ""), path)
        return found[:MOST_TAGS], bool(path) or len(found) > MOST_TAGS

    def _next(self, link: str, path: str) -> str:
        """The path of the next page; "" for none, and for one on another host."""
        target = re.match(r"<([^>]{1,2000})>", link)
        parts = urlsplit(urljoin(self._url + path, target[1])) if target else None
        if parts is None or f"{parts.scheme}://{parts.netloc}" != self._url:
            return ""
        following = f"{parts.path}?{parts.query}"
        return following if following != path else ""

    @sensitive_variables()
    def _authorize(self, headers: Mapping[str, str], repository: str) -> None:
        """What the upstream asks for in WWW-Authenticate (distribution-spec; token authentication:
        distribution, docs/spec/auth/token.md)."""
        said = headers.get("www-authenticate", "")
        if said[:6].lower() == "basic ":
            if not self._basic:
                raise Refused(_("The upstream requires a user and password."))
            self._authorization = self._basic
            status, _headers, _body = self._get("/v2/")
            if status in (401, 403):
                raise _wrong_login()
            return
        asked = dict(_CHALLENGE.findall(said))
        realm = urlsplit(asked.get("realm", ""))
        is_safe = realm.scheme == "https" or self._url.startswith("http:")
        if said[:7].lower() != "bearer " or not is_safe or not realm.netloc:
            raise _unexpected(401)
        query = {"service": asked.get("service", "")}
        if repository:
            query["scope"] = f"repository:{repository}:pull"
        elif asked.get("scope"):
            query["scope"] = asked["scope"]
        url = f"{realm.scheme}://{realm.netloc}{realm.path}?{urlencode(query)}"
        status, _headers, body = self._request(url, authorization=self._basic)
        if status in (401, 403):
            if self._basic:
                raise _wrong_login()
            raise Refused(_("The upstream requires a user and password."))
        token = _json(body).get("token") or _json(body).get("access_token")
        if status != 200 or not isinstance(token, str) or not token.isprintable():
            raise _unexpected(status)
        self._authorization = f"Bearer {token}"

    def _get(self, path: str, *, method: str = "GET") -> tuple[int, Mapping[str, str], bytes]:
        return self._request(self._url + path, authorization=self._authorization, method=method)

    @sensitive_variables()
    def _request(
        self, url: str, *, authorization: str, method: str = "GET"
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers by their small names, and the body."""
        request = urllib.request.Request(url, method=method)  # noqa: S310  (http or https: checked)
        request.add_header("User-Agent", "boathouse")
        request.add_header("Accept", f"{_ACCEPT}, application/json")
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                return answer.status, _small(answer.headers), answer.read(MOST_BYTES)
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, _small(answer.headers), b""
        except urllib.error.URLError as error:
            raise _failure(error.reason) from error
        except (OSError, HTTPException, ValueError) as error:
            raise _failure(error) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An upstream's API does not redirect; a token must not follow if it does."""

    def redirect_request(self, *_args: Any) -> None:
        return None


def _failure(error: object) -> Refused:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused(
            _("The certificate of the upstream is not trusted (%(reason)s).")
            % {"reason": error.verify_message}
        )
    return Refused(
        _("The upstream does not answer (%(reason)s).") % {"reason": in_words(error)[:300]}
    )


def _wrong_login() -> Refused:
    return Refused(_("The upstream does not accept the user and password."))


def _unexpected(status: int) -> Refused:
    if status == 429:
        return Refused(_("The pull limit of the upstream is reached; it asks to try again later."))
    return Refused(
        _("The upstream does not answer like a registry (HTTP status %(status)d).")
        % {"status": status}
    )


def _small(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


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
