"""Who may do what: one generation, and the files that say the same to nginx."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from registryui.accounts import rights
from registryui.accounts.rights import can_have, covers, markers, may, parse, parse_scope, scopes
from registryui.setup import configuration


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("*", "*"),
        (" * ", "*"),
        ("team\n", "team"),
        ("/*", "*"),
        ("*/*", "*"),
        ("team/*", "team/*"),
        ("team/", "team/*"),
        ("team/deep/*", "team/deep/*"),
        ("team", "team"),
        ("team/api", "team/api"),
        ("a_b/c-d.e__f", "a_b/c-d.e__f"),
        ("/".join("abcdefgh") + "/*", "a/b/c/d/e/f/g/h/*"),
        ("/".join("abcdefghijk"), "a/b/c/d/e/f/g/h/i/j/k"),  # a repository may be deeper
    ],
)
def test_a_scope_has_one_form(text: str, scope: str) -> None:
    assert parse_scope(text) == scope
    assert parse_scope(scope) == scope


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "**",
        "team*",
        "team/**",
        "*/api",
        "te*m/api",
        "Team/*",
        "/team/*",
        "team//*",
        "../*",
        "@all",
        "team/@all",
        ".",
        "team/..",
        "team\x00/*",
        "a" * 256,
        "é/*",
        "a b",
        "/".join("abcdefghi") + "/*",
    ],
)
def test_what_is_no_scope_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a valid scope|is too deep"):
        parse_scope(text)


def test_an_action_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="admin"):
        parse([("admin", "*")])
    assert parse([("pull", "team/"), ("pull", "team/*")]) == {("pull", "team/*")}


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("*", ["team", "team/api", "a/b/c"], []),
        ("team/*", ["team/api", "team/deep/er"], ["team", "teams/api", "other/team/api", "te"]),
        ("team/api", ["team/api"], ["team", "team/api/x", "team/apis", "team/ap"]),
        ("team", ["team"], ["team/api", "teams"]),
    ],
)
def test_a_scope_holds(scope: str, inside: list[str], outside: list[str]) -> None:
    assert [name for name in inside if not covers(scope, name)] == []
    assert [name for name in outside if covers(scope, name)] == []


def test_scopes_leave_out_what_another_one_holds() -> None:
    pairs = parse(
        [("pull", one) for one in ("b", "a/*", "a/b", "a/b/*", "a", "c/d/*", "c/d/e", "c/d")]
    )
    assert scopes(pairs, "pull") == ["a", "a/*", "b", "c/d", "c/d/*"]
    assert scopes(pairs, "push") == []
    assert scopes(pairs | {("pull", "*")}, "pull") == ["*"]


# -- any rights ------------------------------------------------------------------------------------
parts = st.sampled_from(["a", "b", "aa", "all", "one", "0"])
repositories = st.lists(parts, min_size=1, max_size=10).map("/".join)
actions = st.sampled_from(["pull", "push", "delete"])
namespaces = st.lists(parts, min_size=1, max_size=8).map(lambda found: "/".join(found) + "/*")
any_rights = st.frozensets(st.tuples(actions, st.one_of(repositories, namespaces, st.just("*"))))


def asked_by_nginx(action: str, repository: str) -> list[str]:
    """The markers that nginx looks for, as the rendered configuration tells it to."""
    told = str(configuration._names_and_markers()["markers"])
    lines = re.findall(rf'if \(-f "{re.escape(str(settings.RIGHTS_DIR))}(\S+)"\)', told)
    found = []
    names = dict(
        re.findall(
            r'map \$repository \$(\S+) \{ default "@none"; "~(\S+)"',
            str(configuration._names_and_markers()["namespaces"]),
        )
    )
    values = {"subject": "USER", "action": action, "repository": repository}
    for name, pattern in names.items():
        matched = re.search(pattern.replace("(?<", "(?P<"), repository)
        values[name] = matched[1] if matched else "@none"
    for line in ["/$subject/$action/@all", *lines]:
        if "$or_action" not in line and "$from" not in line:
            found.append(re.sub(r"\$(\w+)", lambda one: values[one[1]], line))
    return found


def test_the_configuration_asks_for_what_the_layout_says() -> None:
    asked = asked_by_nginx("pull", "a/b/c")
    assert asked[0] == "/USER/pull/@all"
    assert "/USER/pull/a/@all" in asked
    assert "/USER/pull/a/b/@all" in asked
    assert "/USER/pull/a/b/c/@one" in asked
    assert not [one for one in asked if one.endswith("a/b/c/@all")]


@how(max_examples=300, deadline=None)
@given(any_rights, actions, repositories)
def test_may_says_what_nginx_finds(pairs: rights.Rights, action: str, repository: str) -> None:
    written = {f"/USER/{marker}" for marker in markers(pairs)}
    assert may(pairs, action, repository) is bool(written & {*asked_by_nginx(action, repository)})


@how(max_examples=300, deadline=None)
@given(any_rights, actions, repositories)
def test_scopes_say_as_much_as_the_rights(
    pairs: rights.Rights, action: str, repository: str
) -> None:
    shown = [(action, scope) for scope in scopes(pairs, action)]
    assert may(shown, action, repository) is may(pairs, action, repository)


@how(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_scope_or_refused(text: str) -> None:
    try:
        scope = parse_scope(text)
    except ValueError:
        return
    assert parse_scope(scope) == scope
    for marker in markers([("pull", scope)]):
        assert ".." not in marker.split("/")
        assert not marker.startswith("/")


@pytest.mark.parametrize(
    ("name", "can"),
    [
        ("ci", True),
        ("..", False),
        (".", False),
        ("a/b", False),
        ("@open", False),
        ("...", True),
        ("a@b", True),
        ("ü x", True),
        ("-rf", True),
    ],
)
def test_rights_need_a_name_that_a_folder_can_have(name: str, can: bool) -> None:
    assert can_have(name) is can
