"""Protections: what they hold, who wrote them down, what is refused."""

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test.utils import CaptureQueriesContext

from registryui.deletion import protection
from registryui.models import AuditEvent, Protection
from registryui.refused import Refused

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_protects_what_its_patterns_name_and_nothing_else() -> None:
    kept = protection.add("team/*", "v* stable", note="releases", by="operator:ada")
    now = protection.protections()
    assert now.of("team/app", "v1.0") == kept
    assert now.of("team/a/b", "stable") == kept
    assert now.of("team/app", "rev1") is None  # whole names, not parts of them
    assert now.of("my-team/app", "v1.0") is None
    assert now.of("team/app", "stable-2") is None


def test_the_oldest_of_two_is_named_and_one_alone_is_enough() -> None:
    first = protection.add("*", "latest", note="", by="operator:ada")
    second = protection.add("team/app", "*", note="", by="operator:ada")
    assert protection.protections().of("team/app", "latest") == first
    protection.lift(first, by="operator:ada")
    assert protection.protections().of("team/app", "latest") == second
    assert protection.protections().of("other", "latest") is None


def test_an_immutable_one_protects_too_and_lets_referrer_tags_move() -> None:
    plain = protection.add("team/*", "*", note="", by="operator:ada")
    fixed = protection.add("team/*", "v*  sha256*", note="", by="operator:ada", is_immutable=True)
    now = protection.protections()
    assert (now.of("team/app", "v1"), now.immutable("team/app", "v1")) == (plain, fixed)
    assert now.immutable("team/app", "latest") is None
    assert now.immutable("team/app", f"sha256-{'a' * 64}.sig") is None
    assert now.of("team/app", f"sha256-{'a' * 64}.sig") == plain


def test_many_tags_cost_one_query() -> None:
    Protection.objects.bulk_create(  # more than patterns.matcher remembers
        Protection(repositories=f"team/{number}", tags="v*") for number in range(300)
    )
    with CaptureQueriesContext(
        connection,
    ) as queries:
        now = protection.protections()
        found = [now.of(f"team/{number}", "v1") for number in range(300) for _ in range(20)]
    assert all(found)
    assert len(queries) == 1


def test_same_patterns_in_other_spelling_are_refused_the_second_time() -> None:
    protection.add("a,b", "v*", note="", by="operator:ada")
    with pytest.raises(Refused, match="already"):
        protection.add(" a  b ", "v*", note="other", by="operator:vera")
    assert Protection.objects.count() == 1
    assert AuditEvent.objects.count() == 1


def test_the_same_patterns_become_immutable_and_never_less() -> None:
    plain = protection.add("team/*", "v*", note="releases", by="operator:ada")
    fixed = protection.add("team/*", "v*", note="", by="operator:vera", is_immutable=True)
    assert fixed == plain
    with pytest.raises(Refused, match="already immutable"):
        protection.add("team/*", "v*", note="", by="operator:ada")
    with pytest.raises(Refused, match="already exists"):
        protection.add("team/*", "v*", note="", by="operator:ada", is_immutable=True)
    row = Protection.objects.get()
    assert (row.is_immutable, row.note, row.by) == (True, "releases", "operator:ada")
    assert list(AuditEvent.objects.order_by("id").values_list("act", "actor")) == [
        ("protection.add", "operator:ada"),
        ("protection.change", "operator:vera"),
    ]


@pytest.mark.parametrize(
    ("repositories", "tags"),
    [("", "*"), ("*", ""), ("team/app:1", "*"), ("*", "v1;drop"), ("*", "x" * 513), ("é", "*")],
)
def test_what_is_no_pattern_is_refused(repositories: str, tags: str) -> None:
    with pytest.raises(Refused, match="pattern"):
        protection.add(repositories, tags, note="", by="operator:ada")
    assert not Protection.objects.exists()
    assert not AuditEvent.objects.exists()


def test_lifting_twice_is_refused_and_both_acts_are_in_the_log() -> None:
    row = protection.add("team/app", "v*", note="releases", by="operator:ada")
    same = Protection.objects.get()
    protection.lift(row, by="operator:vera")
    with pytest.raises(Refused, match="already been removed"):
        protection.lift(same, by="operator:mei")
    assert list(AuditEvent.objects.values_list("act", "actor", "target")) == [
        ("protection.add", "operator:ada", "team/app:v*"),
        ("protection.lift", "operator:vera", "team/app:v*"),
    ]


@pytest.mark.django_db(transaction=True)
def test_of_the_same_patterns_the_migration_keeps_the_immutable_one() -> None:
    call_command("migrate", "registryui", "0017", verbosity=0)
    try:
        old = MigrationExecutor(connection).loader.project_state([("registryui", "0017_grants")])
        row = old.apps.get_model("registryui", "Protection").objects.create
        row(repositories="team/*", tags="v*", note="releases")
        row(repositories="team/*", tags="v*", is_immutable=True)
        row(repositories="team/*", tags="w*")
    finally:
        call_command("migrate", "registryui", verbosity=0)
    found = Protection.objects.order_by("tags").values_list("tags", "is_immutable", "note")
    assert list(found) == [("v*", True, "releases"), ("w*", False, "")]
