"""Who acted, in words, in both languages."""

from __future__ import annotations

import pytest
from django.utils import translation

from registryui.models import TagTombstone, actor_name, portal_actor

NAMES = {
    "vera": ("vera", "vera"),
    "operator:vera": ("vera (operator)", "vera（操作员）"),
    "command line": ("command line", "命令行"),
    "policy nightly": ("policy nightly", "策略 nightly"),
    "rule nightly": ("policy nightly", "策略 nightly"),
}
OWN = {
    "": ("unknown", "未知"),
    "demo": ("demo", "演示"),
    "schedule": ("schedule", "定时任务"),
    "set-up": ("setup", "初始设置"),
    "start": ("startup", "启动"),
}


@pytest.mark.parametrize(("language", "place"), [("en", 0), ("zh-hans", 1)])
def test_an_actor_has_words_and_a_registry_user_keeps_its_name(language: str, place: int) -> None:
    with translation.override(language):
        assert {name: actor_name(name) for name in NAMES} == {
            name: words[place] for name, words in NAMES.items()
        }
        assert {name: portal_actor(name) for name in NAMES | OWN} == {
            name: words[place] for name, words in (NAMES | OWN).items()
        }
        assert [name for name in OWN if actor_name(name) != name] == []


@pytest.mark.parametrize(
    ("by", "address", "words"),
    [
        ("set-up", "", "setup"),
        ("schedule", "", "schedule"),
        ("set-up", "10.0.0.7", "set-up"),  # a registry user of that name
        ("", "10.0.0.7", "unknown"),
    ],
)
def test_a_client_that_deleted_a_tag_keeps_its_name(by: str, address: str, words: str) -> None:
    assert TagTombstone(by=by, address=address).who == words
