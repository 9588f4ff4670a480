"""Shows the pages to Chromium and takes their pictures: three widths, two themes, one in Chinese.

A server on loopback gives it what was rendered, and the files of static/. Nothing is asked again
by a page that is looked at, nothing moves, and its clock stands still.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from django.contrib.staticfiles import finders
from playwright.sync_api import CDPSession, Page, sync_playwright

from tests.support.browser import CHROMIUM, HEIGHT

from .content import NOW
from .render import CHINESE, ENGLISH, Shown

WIDTHS = (1300, 900, 390)
QUIET = "addEventListener('htmx:beforeRequest', event => event.preventDefault(), true)"
UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"
# All letters are there, and all of the page is laid out with them: a field that was laid out with
# other letters before keeps its text a pixel off.
READY = """async () => {
    await document.fonts.ready;
    document.body.style.display = "none";
    document.body.offsetHeight;
    document.body.style.display = "";
    for (let frames = 2; frames; frames--) await new Promise(requestAnimationFrame);
}"""
# Nothing that is drawn again keeps a part of what was drawn before.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-partial-raster"]


def take(folder: Path, shown: Sequence[Shown], *, is_all: bool = False) -> int:
    """FOLDER/PAGE/WIDTH-THEME.png of each, and how many that are. A state is shown wide and light,
    narrow and dark, unless all are asked for."""
    count = 0
    with serving(shown) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        for theme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": WIDTHS[0], "height": HEIGHT},
                reduced_motion="reduce",
                color_scheme=theme,  # type: ignore[arg-type]
                timezone_id="UTC",
            )
            context.add_init_script(QUIET)
            page = context.new_page()
            page.clock.set_fixed_time(NOW)
            camera = context.new_cdp_session(page)
            for one in shown:
                for language in (ENGLISH, CHINESE):
                    widths = _widths(language, theme, is_main=is_all or one.view.is_main)
                    if widths and (language, theme) in one.bodies:
                        _open(page, f"{url}/{one.view.name}/{language}/{theme}", one)
                    for width in widths if one.bodies else ():
                        name = f"{width}-{theme}{'-zh' if language == CHINESE else ''}.png"
                        _shoot(page, camera, folder / one.view.name / name, width)
                        count += 1
            context.close()
        browser.close()
    return count


def _widths(language: str, theme: str, *, is_main: bool) -> tuple[int, ...]:
    if language == CHINESE:
        return WIDTHS[:1] if is_main and theme == "light" else ()
    if is_main:
        return WIDTHS
    return WIDTHS[:1] if theme == "light" else WIDTHS[-1:]


def _open(page: Page, address: str, one: Shown) -> None:
    page.goto(address, wait_until="load")
    if one.view.is_opened:
        page.evaluate(UNFOLD)


def _shoot(page: Page, camera: CDPSession, path: Path, width: int) -> None:
    """The whole page. By the browser's own means, in half of Playwright's time."""
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.evaluate(READY)
    picture = _picture(camera, width)
    # What sticks to an edge below a dialog moves there late: until two pictures are the same.
    if page.locator("dialog[open]").count():
        for _time in range(5):
            before, picture = picture, _picture(camera, width)
            if picture == before:
                break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)


def _picture(camera: CDPSession, width: int) -> bytes:
    height = camera.send("Page.getLayoutMetrics")["cssContentSize"]["height"]
    answer = camera.send(
        "Page.captureScreenshot",
        {
            "captureBeyondViewport": True,
            "optimizeForSpeed": True,
            "clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
        },
    )
    return base64.b64decode(answer["data"])


@contextmanager
def serving(shown: Sequence[Shown]) -> Iterator[str]:
    """The address of a server for these pages and the static files."""
    bodies = {
        f"/{one.view.name}/{language}/{theme}": (body, one.policy)
        for one in shown
        for (language, theme), body in one.bodies.items()
    }
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path in bodies:
                body, policy = bodies[path]
                # A field that had the focus before the picture is drawn again, in part: not always
                # to the same pixels.
                body = body.replace(b" autofocus", b"")
                self._send(200, body, "text/html; charset=utf-8", policy)
                return
            body = files.get(path) or self._file(path)
            self._send(200 if body else 404, body, mimetypes.guess_type(path)[0] or "")

        def _file(self, path: str) -> bytes:
            kind, name = path[:8], path[8:]
            found = finders.find(name) if kind == "/static/" else None
            files[path] = Path(found).read_bytes() if isinstance(found, str) else b""
            return files[path]

        def _send(self, status: int, body: bytes, kind: str, policy: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if policy:
                self.send_header("Content-Security-Policy", policy)
            else:
                self.send_header("Cache-Control", "max-age=3600")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
