"""How large pages are, before compression: bytes, which are the same on every machine."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from registryui.models import RegistryUser, Role, Tag
from tests.support import pushed
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db
R = "payments/checkout-api"
HASH = len(".0123456789ab")  # in the names of static files, as `./boathouse up` collects them


def test_a_page_of_20_tags_of_three_platforms_has_at_most_40_kb(client: Client) -> None:
    """Signed in as an admin, who sees most: each tag has a digest of its own, a known user who
    pushed it, and a pull."""
    RegistryUser.objects.create(name="ci-payments")
    for number in range(20):
        children = [
            (
                pushed.image(R, layers=[(f"{number} {one}", 50_900_000)], architecture=one),
                f"linux/{one}",
            )
            for one in ("amd64", "arm64", "s390x")
        ]
        pushed.image_index(R, children, tags=[f"2.{number}.0"], by="ci-payments")
    Tag.objects.update(pulled_at=timezone.now() - timedelta(hours=3))
    client.force_login(make_operator("ada", Role.ADMIN))
    page = client.get(f"/repositories/{R}").content
    assert page.count(b'class="child"') == 60
    size = len(page) + HASH * len(re.findall(rb"/static/[^\"#]+\.\w+", page))
    assert size <= 40_000, size
