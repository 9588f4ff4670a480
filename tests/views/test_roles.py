"""What the page of operators says of each role is what the table of access lets it do."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import translation

from registryui.models import Role
from registryui.views.operators.roles import DUTIES, role_words
from tests.support.access_table import TABLE
from tests.support.factories import make_operator


def test_each_page_and_act_stands_in_the_words_of_its_role_and_nowhere_else() -> None:
    said = [
        (role.value, name) for role, duties in DUTIES.items() for d in duties for name in d.views
    ]
    table = {(role, name) for name, (_url, *roles) in TABLE.items() for role in roles if role}
    assert set(said) == table
    assert len(said) == len(table)


@pytest.mark.django_db
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_pages_say_them(language: str) -> None:
    client = Client(headers={"accept-language": language})
    row = make_operator("ada", Role.ADMIN)
    client.force_login(row)
    for address in ("/operators", f"/operators/{row.pk}"):
        content = client.get(address).content.decode()
        with translation.override(language):
            for role in Role:
                assert role_words(role) in content
