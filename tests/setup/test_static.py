"""Static files as `up` gathers them, and as the real nginx serves them without the portal."""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.test import Client
from pytest_django.fixtures import Settings

from registryui.setup import static
from tests.support.instance import Instance
from tests.support.proxy_client import ask, connected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]

CSS = "p::before { content: 'é'; background: url(b.svg) }\n" * 50
SOURCES = {
    "portal/a.css": ("text/css; charset=utf-8", CSS),
    "portal/b.svg": ("image/svg+xml", f"<svg xmlns='http://www.w3.org/2000/svg'>{' ' * 999}</svg>"),
    "portal/c.min.js": ("text/javascript; charset=utf-8", "'é';\n" * 100),
    "portal/fonts/d.woff2": ("font/woff2", "wOF2" * 100),
    "portal/e.html": ("", "<p>no page"),
    ".hidden/f.css": ("", "p {}"),
}
SERVED = {name: kind for name, (kind, _text) in SOURCES.items() if kind}
PROTECTIONS = ("referrer-policy", "cross-origin-opener-policy", "x-content-type-options")


@pytest.fixture
def gathered(
    standing: Instance, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Path]:
    """DATA/static of a running instance."""
    for name, (_kind, text) in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    settings.STATICFILES_DIRS = [tmp_path]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    manifest = {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": manifest}
    monkeypatch.setattr(static.fonts, "make", lambda: None)
    standing.renew()
    before = os.umask(0o077)  # as the product does
    try:
        assert static.gather()
        yield standing.folder / "static"
    finally:
        os.umask(before)


def test_nginx_serves_them_compressed_and_without_the_portal(
    gathered: Path, standing: Instance
) -> None:
    page = Client(HTTP_HOST="localhost").get("/healthz", secure=True)
    for name, kind in SERVED.items():
        hashed = staticfiles_storage.url(name)
        assert hashed != f"/static/{name}"
        for path, kept in (
            (hashed, "max-age=315360000, public, immutable"),
            (f"/static/{name}", "max-age=60, public"),
        ):
            content = (gathered / path.removeprefix("/static/")).read_bytes()
            answer = ask("GET", path)
            assert (answer.status, answer.body) == (200, content)
            assert answer.headers["content-type"] == kind
            assert answer.headers["cache-control"] == kept
            assert "access-control-allow-origin" not in answer.headers
            policies = (answer.headers["content-security-policy"], page["content-security-policy"])
            ours, djangos = (set(policy.split("; ")) for policy in policies)
            assert ours == djangos
            for header in PROTECTIONS:
                assert answer.headers[header] == page[header]

            smaller = ask("GET", path, headers={"Accept-Encoding": "gzip, br"})
            if name.endswith(".woff2"):
                assert "content-encoding" not in smaller.headers
            else:
                assert smaller.headers["content-encoding"] == "gzip"
                assert smaller.headers["vary"] == answer.headers["vary"] == "Accept-Encoding"
                assert smaller.headers["content-type"] == kind
                assert gzip.decompress(smaller.body) == content
                assert len(smaller.body) < len(content) / 3
    assert standing.heard == []


def test_what_a_browser_has_is_not_sent_again(gathered: Path, standing: Instance) -> None:
    path = staticfiles_storage.url("portal/a.css")
    for encoding in ("identity", "gzip"):
        headers = {"Accept-Encoding": encoding}
        whole, head = (ask(method, path, headers=headers) for method in ("GET", "HEAD"))
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.body))
        for condition, said in (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")):
            again = ask("GET", path, headers={**headers, condition: whole.headers[said]})
            assert (again.status, again.body) == (304, b"")
            assert "immutable" in again.headers["cache-control"]
    assert ask("POST", path).status == 405
    assert standing.heard == []


def test_only_what_pages_load_is_served(gathered: Path, standing: Instance) -> None:
    (gathered / "portal" / "f.css").symlink_to(gathered / "portal" / "e.html")
    (gathered / "way").symlink_to(gathered / "portal")
    css = staticfiles_storage.url("portal/a.css")
    assert (gathered / "staticfiles.json").is_file()
    assert (gathered / "portal" / "e.html").is_file()
    over = connected()
    for path in (
        *("/static/", "/static/portal", "/static/portal/", "/static//portal/a.css"),
        *("/static/staticfiles.json", r"/static/\.state", "/static/.hidden/f.css"),
        *(f"{css}.gz", f"{css}/", f"{css}/x.css", f"{css}%00.css", "/static/portal/nothing.css"),
        *("/static/portal/e.html", "/static/portal/.css", r"/static/portal/../\.state"),
    ):
        answer = ask("GET", path, over=over)
        assert answer.status in (400, 404), path
        assert "cache-control" not in answer.headers, path
    for path in ("/static/portal/f.css", "/static/way/a.css"):
        assert ask("GET", path, over=over).status in (403, 404), path  # of a file, of a folder
    for path in ("/static/../htpasswd", "/static/%2e%2e/htpasswd"):  # the portal's, which has none
        standing.heard.clear()
        assert ask("GET", path, over=over).status == 404
        assert [one.line for one in standing.heard] == [f"GET {path}"]
    over.close()


def test_nginx_can_read_them_whatever_the_umask_and_after_a_restore(gathered: Path) -> None:
    found = [gathered, *gathered.rglob("*")]

    def modes() -> set[tuple[bool, int]]:
        return {(one.is_dir(), stat.S_IMODE(one.stat().st_mode)) for one in found}

    wanted = {(True, 0o711), (False, 0o644)}
    assert modes() == wanted
    for one in found[1:]:
        one.chmod(0o700 if one.is_dir() else 0o600)
    assert not static.gather()
    assert modes() == wanted
