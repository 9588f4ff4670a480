"""A visitor of the portal without a browser: forms and cookies, nothing else."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from .product import Product

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Page:
    """What came back, and how long it took."""

    status: int
    text: str
    location: str
    seconds: float


@dataclass(slots=True)
class Visitor:
    """Keeps the cookies of one visit."""

    product: Product
    cookies: dict[str, str] = field(default_factory=dict)

    def login(self) -> None:
        """Signs in as the first operator."""
        name, password = self.product.operator
        done = self.post("/login", username=name, password=password)
        assert done.status == 302, done.text[:2000]

    def get(self, path: str) -> Page:
        """One GET."""
        return self._ask("GET", path, None)

    def post(self, path: str, **fields: str) -> Page:
        """Fills in the form of that page and sends it."""
        token = TOKEN.search(self.get(path).text)
        assert token, f"no form on {path}"
        body = urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        return self._ask("POST", path, body)

    def send(self, path: str, **fields: str) -> Page:
        """Sends a form of another page, whose token is among the fields."""
        return self._ask("POST", path, urlencode(fields).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Page:
        headers = {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "Referer": f"{self.product.facts['url']}{path}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        began = time.monotonic()
        answer = self.product.ask(path, method=method, body=body, headers=headers)
        for line in answer.cookies:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return Page(
            answer.status,
            answer.body.decode(errors="replace"),
            answer.headers.get("location", ""),
            time.monotonic() - began,
        )
