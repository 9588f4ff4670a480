"""Every piece of a page stands on the page of the pieces, which only developers get."""

import re

import pytest
from django.conf import settings
from django.template import engines
from django.test import Client, override_settings
from jinja2 import nodes

from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db
TEMPLATES = settings.BASE_DIR / "templates"
ENVIRONMENT = engines["jinja2"].env
TWO_LINES = [TEMPLATES / "retention" / "_run.html"]  # a sentence below its head
MACROS = {
    macro.name
    for macro in ENVIRONMENT.parse((TEMPLATES / "components" / "macros.html").read_text()).find_all(
        nodes.Macro
    )
}


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def test_no_installation_has_the_page(client: Client) -> None:
    assert settings.DEVELOPER_PAGES is False
    assert client.get("/components").status_code == 404


@override_settings(DEVELOPER_PAGES=True)
def test_the_page_shows_every_piece(client: Client) -> None:
    for address in ("/components", "/components?dialog=1"):
        page = client.get(address)
        assert page.status_code == 200
        assert ('<dialog class="dialog" open' in page.content.decode()) == ("dialog" in address)
    assert len(MACROS) > 12
    assert MACROS - called("components/page.html") == set()


def test_a_template_imports_the_pieces_that_it_uses_and_no_others(
    subtests: pytest.Subtests,
) -> None:
    for path in TEMPLATES.rglob("*.html"):
        name = str(path.relative_to(TEMPLATES))
        if name == "components/macros.html":
            continue
        with subtests.test(name):
            imports = ENVIRONMENT.parse(path.read_text()).find_all(nodes.FromImport)
            assert {piece for one in imports for piece in one.names} == called(name) & MACROS


def test_no_template_writes_a_piece_out(subtests: pytest.Subtests) -> None:
    """What has one look has one place where it is written. Pictures and links are said here."""
    pieces = re.compile(
        r'class="(?:badge|check|copy-line|empty|notice|panel__head|scrim)(?![\w-])'
        r'|<(?:dialog|th)\b|<fieldset class="field|type="hidden"'
    )
    for path in TEMPLATES.rglob("*.html"):
        if path.name != "macros.html":
            with subtests.test(str(path)):
                its = ['class="panel__head'] if path in TWO_LINES else []
                assert pieces.findall(path.read_text()) == its


def test_lines_to_copy_stay_lines(client: Client) -> None:
    """Two commands on one line would be one wrong command."""
    page = client.get("/").content.decode()
    assert re.search(r"/try/hello:1\ndocker push ", page)


def called(name: str) -> set[str]:
    tree = ENVIRONMENT.parse((TEMPLATES / name).read_text())
    return {
        call.node.name for call in tree.find_all(nodes.Call) if isinstance(call.node, nodes.Name)
    }
