"""The environment of the templates: nothing is shadowed, escaped twice, or not escaped."""

import pytest
from django.conf import settings
from django.template import engines
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import nodes

from registryui.setup import icons
from registryui.views.line_breaks import without_line_breaks

TEMPLATES = sorted((settings.BASE_DIR / "templates").rglob("*.html"))
ENVIRONMENT = engines["jinja2"].env
OF_EACH_PAGE = {"operator", "may", "nav", "here", "theme", "registry_name", "public_url", "totals"}


def test_no_template_shadows_a_function_or_trusts_a_text(subtests: pytest.Subtests) -> None:
    """A name that a template sets is another thing in all that it includes."""
    taken = ENVIRONMENT.globals.keys() | OF_EACH_PAGE
    for path in TEMPLATES:
        tree = ENVIRONMENT.parse(path.read_text())
        with subtests.test(str(path)):
            set_here = {one.name for one in tree.find_all(nodes.Name) if one.ctx == "store"}
            assert set_here & taken == set()
            filters = {one.name for one in tree.find_all(nodes.Filter)}
            assert filters & {"safe", "forceescape", "xmlattr", "tojson"} == set()


def test_a_line_of_a_template_fits_a_screen() -> None:
    lines = {
        f"{path}:{number}": line
        for path in TEMPLATES
        for number, line in enumerate(path.read_text().splitlines(), 1)
    }
    assert [where for where, line in lines.items() if len(line) > 120] == []


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("<p>\n  one\n  two\n</p>\n", "<p>one two</p>"),
        ("<p>\n  {{ one }}\n  <b>two</b>\n</p>", "<p>{{ one }}<b>two</b></p>"),
        (
            '<a\n    href="x"\n    {% if y %} hidden{% endif %}>',
            '<a href="x"{% if y %} hidden{% endif %}>',
        ),
        ('<a title="one\n    two">', '<a title="one two">'),
        (
            "{% trans %}\n  <b>one</b>\n  two\n{% endtrans %}",
            "{% trans %} <b>one</b> two {% endtrans %}",
        ),
        ("one {{ two }} three", "one {{ two }} three"),
        ("{# of a\n   comment #}\n<p>1 < 2</p>", "{# of a\n   comment #}<p>1 < 2</p>"),
    ],
)
def test_line_breaks_are_for_the_reader_of_the_template(source: str, kept: str) -> None:
    assert without_line_breaks(source) == kept


@given(
    st.lists(st.sampled_from(["<p>", "</p>", "word", "{{ x }}", "{% if x %}", " ", '"', "<", ">"]))
)
def test_without_line_breaks_a_template_stays_as_it_is(parts: list[str]) -> None:
    source = "".join(parts)
    assert without_line_breaks(source) == source


def test_every_icon_is_drawn() -> None:
    icons.make()
    drawn = (settings.DATA / "made" / icons.FILE).read_text()
    for name in icons.NAMES:
        assert f'<symbol id="{name}" viewBox="0 0 24 24"><' in drawn
    with pytest.raises(ValueError, match="is no icon"):
        ENVIRONMENT.globals["icon"]("no-such-icon")
