"""Pages that people bookmarked under the words of before answer where they are now."""

from django.http import HttpRequest, HttpResponsePermanentRedirect

from .access import public

OLD_ADDRESSES = r"^((?:cleanup|users/versions|users/[0-9]+/ready)(?:/.*)?)$"
_NEW = {"cleanup": "maintenance", "collection": "gc", "deleted": "recently-deleted"}
_NEW |= {"ready": "setup", "rules": "policies", "versions": "htpasswd-history"}


@public()
def old_address(request: HttpRequest, path: str) -> HttpResponsePermanentRedirect:
    query = request.META.get("QUERY_STRING")
    new = "/".join(_NEW.get(part, part) for part in path.split("/"))
    return HttpResponsePermanentRedirect(f"/{new}?{query}" if query else f"/{new}")
