"""The description and the README of a repository: form, preview, page, lists."""

from __future__ import annotations

import pytest
from django.test import Client

from registryui import descriptions
from registryui.models import Role
from tests.support import pushed
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db
R = "team/api"
PAGE, FORM = f"/repositories/{R}", f"/describe/{R}"
LABEL = "org.opencontainers.image."


@pytest.fixture
def mo(client: Client) -> Client:
    client.force_login(make_operator("mo", Role.MAINTAINER))
    return client


def form(**sent: str) -> dict[str, str]:
    return {"seen": descriptions.fingerprint(descriptions.of(R)), **sent}


def body(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_what_is_saved_is_on_the_pages(mo: Client) -> None:
    pushed.image(R, tags=["1"])
    assert "Write a README" in body(mo, f"{PAGE}?show=readme")
    answer = mo.post(FORM, form(text="Prices <b>", readme="# Run\n\n*it*"), follow=True)
    assert answer.redirect_chain[-1][0] == f"{PAGE}?show=readme"
    page = answer.content.decode()
    assert "Saved the description of team/api" in page
    assert "<h3>Run</h3>" in page
    assert "<em>it</em>" in page
    for address in (PAGE, "/repositories/", "/search?q=api"):
        assert "<bdi>Prices &lt;b&gt;</bdi>" in body(mo, address), address
    kept = body(mo, FORM)
    assert 'value="Prices &lt;b&gt;"' in kept
    assert "># Run\n\n*it*</textarea>" in kept


def test_a_preview_saves_nothing(mo: Client) -> None:
    pushed.image(R, tags=["1"])
    page = mo.post(FORM, form(text="a", readme="**b**\r\n\r\nc", act="preview")).content.decode()
    assert "<strong>b</strong>" in page
    assert "**b**\r\n\r\nc</textarea>" in page
    assert descriptions.of(R).pk is None


def test_what_is_refused_is_still_in_the_form(mo: Client) -> None:
    pushed.image(R, tags=["1"])
    old = form(text="mine", readme="*mine*")
    descriptions.describe(R, by="operator:vera", text="theirs")
    answer = mo.post(FORM, old)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Somebody changed it" in page
    assert "*mine*</textarea>" in page
    seen = page.partition('name="seen" value="')[2].partition('"')[0]
    assert mo.post(FORM, {**old, "seen": seen}).status_code == 302
    assert descriptions.of(R).text == "mine"
    answer = mo.post(FORM, form(text="a" * 501, readme="*mine*"))
    assert "501 characters" in answer.content.decode()
    assert mo.get("/describe/not/there").status_code == 404


def test_viewers_read_what_others_write(client: Client) -> None:
    client.force_login(make_operator("vera", Role.VIEWER))
    pushed.image(R, tags=["1"])
    page = body(client, f"{PAGE}?show=readme")
    assert "Maintainers and administrators can write one." in page
    assert "/describe/" not in page
    assert client.get(FORM).status_code == 403


def test_labels_of_the_newest_image_stand_in_and_say_so(mo: Client) -> None:
    labels = {
        f"{LABEL}description": "Prices\u202e <b>",
        f"{LABEL}documentation": "https://docs.example.com@evil.example.com/",
        f"{LABEL}source": "javascript:alert(1)",
    }
    pushed.image(R, tags=["2.0"], config={"config": {"Labels": labels}})
    page = body(mo, PAGE)
    assert "<bdi>Prices\\u202e &lt;b&gt;</bdi>" in page
    assert "from the image's labels" in page.replace("&#39;", "'")
    assert 'rel="noopener nofollow"' in page
    assert "evil.example.com</span>" in page
    assert "javascript:" not in page
    descriptions.describe(R, by="", text="ours")
    page = body(mo, PAGE)
    assert "<bdi>ours</bdi>" in page
    assert "Prices" not in page
    assert "evil.example.com" in page
