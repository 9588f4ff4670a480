"""Pages as a signed-in operator gets them."""

from __future__ import annotations

import html
import re
from typing import Any

from django.test import Client

from registryui.models import Role
from tests.support.factories import make_operator

HOSTILE = "<script>alert(1)</script>"


def client_of(role: Role) -> Client:
    client = Client()
    client.force_login(make_operator(f"a-{role}", role))
    return client


def text(answer: Any) -> str:
    plain = re.sub(r"<[^>]+>", " ", answer.content.decode())
    one_line = " ".join(html.unescape(plain).split())
    return re.sub(r" ([,;:] )", r"\1", one_line)  # the mark stood in another element
