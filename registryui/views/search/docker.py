"""What `docker search` and `podman search` read, from the index: each user finds what he may pull.

nginx has checked who asks and says it in a header that it removes from every other request. Docker
asks /v1/search with its login (Docker Registry HTTP API V1, Search). podman asks there without,
is refused, and reads /v2/_catalog with its login (distribution-spec, Listing Repositories): that
one comes to us only from users who may not pull everything, else the registry answers.
"""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Case, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registryui.accounts import rights
from registryui.index import query as index
from registryui.models import UNKNOWN, Repository, Right
from registryui.views.access import public

USER = "X-Boathouse-User"  # deploy/nginx.conf.template: the name that it has verified
SIZE, MOST = 25, 100  # results a page; Docker refuses to ask for more
NAMES, MOST_NAMES = 100, 1000  # of a page of the catalogue, as in the registry
LAST_PAGE = 1_000_000  # a larger number is none that a database counts to


@public()  # not an operator's page: see `verified`
def docker_search(request: HttpRequest) -> HttpResponse:
    name = verified(request)
    if not name:
        return JsonResponse({"error": "authentication required"}, status=401)
    text = request.GET.get("q", "")
    size = _number(request.GET.get("n", ""), default=SIZE, most=MOST)
    page = _number(request.GET.get("page", ""), default=1, most=LAST_PAGE)
    found = _matching(rights.allowed(name, Right.Action.PULL), text)
    count = found.count()
    rows = found[(page - 1) * size : page * size]
    answer = {
        "query": text,
        "num_results": count,
        "num_pages": -(-count // size),
        "page": page,
        "page_size": size,
        "results": [_result(row) for row in rows],
    }
    response = JsonResponse(answer)
    response["Cache-Control"] = "no-store"  # of one user, and true for this moment
    return response


@public()
def catalog(request: HttpRequest) -> HttpResponse:
    name = verified(request)
    if not name:
        return _error(401, "UNAUTHORIZED", "authentication required")
    if not rights.has_any(name, Right.Action.PULL):
        return _error(403, "DENIED", f"{name} may not pull anything, so not list repositories")
    size = _number(request.GET.get("n", ""), default=NAMES, most=MOST_NAMES)
    last = request.GET.get("last", "").replace("\0", "")
    found = rights.allowed(name, Right.Action.PULL).filter(name__gt=last).order_by("name")
    names = list(found.values_list("name", flat=True)[: size + 1])
    response = JsonResponse({"repositories": names[:size]})
    response["Cache-Control"] = "no-store"
    if len(names) > size:
        query = urlencode({"last": names[size - 1], "n": size})
        response["Link"] = f'</v2/_catalog?{query}>; rel="next"'
    return response


def _error(status: int, code: str, message: str) -> HttpResponse:
    """An error as the registry's API says it."""
    error = {"code": code, "message": message, "detail": None}
    return JsonResponse({"errors": [error]}, status=status)


def verified(request: HttpRequest) -> str:
    """The registry user that nginx has let pass; "" if it did not say one."""
    try:  # the bytes of the file, which WSGI shows as Latin-1
        return request.headers.get(USER, "").encode("latin-1").decode()
    except UnicodeError:
        return ""


def _number(text: str, *, default: int, most: int) -> int:
    """The number from 1 to `most` that is nearest to the text; `default` if it is none."""
    if not (text.isascii() and text.isdecimal()):
        return default
    return max(1, min(int(text[:9]), most))


def _matching(repositories: QuerySet[Repository], text: str) -> QuerySet[Repository]:
    """Those with the text in their name: the name itself first, then those that begin so, then
    the others; the most pulled first. All for an empty text."""
    asked = index.read(text, registry=settings.REGISTRY_NAME)
    name = asked.value.lower()
    if not name and (asked.digest or asked.second):  # a digest: nothing that a name can have
        return repositories.none()
    # Of one-part names Docker says that they lie in library/; in a registry of one's own they do
    # not.
    found = repositories.filter(Q(name__contains=name) | Q(name=name.removeprefix("library/")))
    near = Case(
        When(name=name, then=Value(0)), When(name__startswith=name, then=Value(1)), default=2
    )
    return found.order_by(near, "-pull_count", "-pushed_at", "name")


def _result(row: Repository) -> dict[str, object]:
    return {
        "name": row.name,
        "description": _description(row),
        "star_count": 0,
        "is_official": False,
        "is_automated": False,
        "is_trusted": False,
    }


def _description(row: Repository) -> str:
    """`newest 2.14.0, 12 tags, pushed 2026-11-23`: Docker shows 45 characters of it."""
    if not row.tag_count:
        return _("no tags")
    tags = ngettext("%(count)d tag", "%(count)d tags", row.tag_count) % {"count": row.tag_count}
    words = [_("newest %(tag)s") % {"tag": row.newest_tag}] if row.newest_tag else []
    words.append(tags)
    if row.pushed_at > UNKNOWN:
        words.append(_("pushed %(day)s") % {"day": localtime(row.pushed_at).date().isoformat()})
    return ", ".join(words)
