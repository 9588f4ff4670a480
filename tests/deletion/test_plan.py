"""The plan of a delete on rows of the index: what goes, what stays, what it frees."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from registryui.deletion import protection
from registryui.deletion.execute import Plan, Selection, plan, plan_purge
from registryui.models import ImageIndexEntry, Manifest, Repository, Tag, TagTombstone
from registryui.refused import Refused
from tests.support.factories import (
    digest_of,
    make_image_index,
    make_manifest,
    make_repository,
    make_tag,
)

pytestmark = pytest.mark.django_db
R = "team/api"


@pytest.fixture
def repository() -> Repository:
    return make_repository(R)


def image(
    repository: Repository, key: str, *tags: str, layers: Any = (), **fields: Any
) -> Manifest:
    """A manifest as ingest leaves it: without a tag it has the time since when."""
    made = make_manifest(
        repository, key, layers=layers, untagged_at=None if tags else timezone.now(), **fields
    )
    for tag in tags:
        make_tag(repository, tag, made)
    return made


def image_index(repository: Repository, key: str, children: list[Manifest], *tags: str) -> Manifest:
    made = make_image_index(repository, key, children, untagged_at=None if tags else timezone.now())
    for tag in tags:
        make_tag(repository, tag, made)
    return made


def attach(repository: Repository, to: Manifest, suffix: str = ".sig", **fields: Any) -> Manifest:
    """What cosign attaches."""
    made = make_manifest(
        repository, f"{to.digest}{suffix}", kind=Manifest.Kind.ARTIFACT, layers=(7,)
    )
    name = f"sha256-{to.digest.removeprefix('sha256:')}{suffix}"
    make_tag(repository, name, made, refers_to=to.digest)
    return made


def plan_of(*tags: str, **fields: Any) -> Plan:
    return plan(Selection(R, tags=tags, **fields))


def names(made: Plan) -> list[str]:
    return [one.tag for one in made.going]


def own(*manifests: Manifest) -> int:
    """Bytes of the manifests themselves."""
    return sum(len(bytes(one.raw)) for one in manifests)


def test_a_tag_that_is_the_only_one_frees_its_image(repository: Repository) -> None:
    one = image(repository, "a", "1", layers=(100, 30))
    image(repository, "b", "2", layers=(100,))
    made = plan_of("1")
    assert (names(made), made.staying, made.left_out) == (["1"], (), ())
    assert (made.size, made.freed) == (130, 30 + own(one))
    assert not made.is_complete


def test_a_sibling_on_the_digest_stays_and_nothing_is_freed(repository: Repository) -> None:
    image(repository, "a", "1", "latest", layers=(100,))
    made = plan_of("1")
    (staying,) = made.staying
    assert (staying.going, staying.staying, staying.listed_by) == (("1",), ("latest",), ())
    assert made.freed == 0
    both = plan_of("1", "latest")
    assert (both.staying, both.is_complete) == ((), True)
    assert both.freed > 100


def test_a_shared_layer_is_freed_with_its_last_image_only(repository: Repository) -> None:
    a = image(repository, "a", "1", layers=(100, 30))
    b = image(repository, "b", "2", layers=(100, 40))
    other = make_repository("other/api")
    far = image(other, "c", "1", layers=(30,))
    assert plan_of("1").freed == own(a)
    assert plan_of("1", "2").freed == 100 + 40 + own(a, b)
    far.tags.all().delete()
    Manifest.objects.filter(pk=far.pk).update(untagged_at=timezone.now())
    # What nothing keeps is collected by the same time: it holds no layer.
    assert plan_of("1").freed == 30 + own(a)


def test_the_same_manifest_elsewhere_keeps_its_bytes(repository: Repository) -> None:
    one = image(repository, "a", "1", layers=(100,))
    other = make_repository("other/api")
    image(other, "a", "1", layers=(100,), digest=one.digest)
    assert plan_of("1").freed == 0


def test_children_go_with_their_last_image_index(repository: Repository) -> None:
    arm, amd = image(repository, "arm", layers=(10,)), image(repository, "amd", layers=(20,))
    listing = image_index(repository, "index", [arm, amd], "1")
    made = plan_of("1")
    assert made.children == 2
    assert made.freed == 30 + own(listing, arm, amd)


def test_a_child_in_another_image_index_or_with_a_tag_of_its_own_stays(
    repository: Repository,
) -> None:
    shared, tagged = (
        image(repository, "s", layers=(10,)),
        image(repository, "t", "arm", layers=(20,)),
    )
    lone = image(repository, "l", layers=(40,))
    first = image_index(repository, "first", [shared, tagged, lone], "1")
    second = image_index(repository, "second", [shared], "2")
    made = plan_of("1")
    assert (made.children, made.freed) == (1, 40 + own(first, lone))
    of_tag = plan_of("arm")
    (staying,) = of_tag.staying
    assert staying.listed_by == (first.digest,)
    assert of_tag.freed == 0
    assert plan_of("1", "2", "arm").freed == 70 + own(first, second, shared, tagged, lone)


def test_an_image_index_within_a_kept_one_stays(repository: Repository) -> None:
    child = image(repository, "child", layers=(10,))
    inner = image_index(repository, "inner", [child], "inner")
    outer = image_index(repository, "outer", [inner])
    top = image_index(repository, "top", [outer], "top")
    made = plan_of("inner")
    assert (made.staying[0].listed_by, made.freed) == ((outer.digest,), 0)
    assert plan_of("inner", "top").freed == 10 + own(child, inner, outer, top)


def test_referrer_tags_go_with_the_last_tag_of_their_image(repository: Repository) -> None:
    one = image(repository, "a", "1", "latest", layers=(100,))
    signature = attach(repository, one)
    nested = attach(repository, signature, ".att")
    assert plan_of("1").referrer_tags == ()
    made = plan_of("1", "latest")
    assert {item.digest for item in made.referrer_tags} == {signature.digest, nested.digest}
    assert made.is_complete
    # 7: the layer that both referrer_tags share
    assert made.freed == 100 + 7 + own(one, signature, nested)


def test_referrer_tags_of_a_child_go_with_it_and_stay_with_it(repository: Repository) -> None:
    child = image(repository, "child", layers=(10,))
    attach(repository, child)
    image_index(repository, "first", [child], "1")
    assert len(plan_of("1").referrer_tags) == 1
    image_index(repository, "second", [child], "2")
    assert plan_of("1").referrer_tags == ()


def test_a_referrer_goes_with_its_subject_and_so_does_a_loop(repository: Repository) -> None:
    one = image(repository, "a", "1", layers=(100,))
    note = image(repository, "note", layers=(5,), subject_digest=one.digest)
    about = image(repository, "about", layers=(6,), subject_digest=note.digest)
    Manifest.objects.filter(pk=one.pk).update(subject_digest=about.digest)  # a loop
    made = plan_of("1")
    assert set(made.referrers) == {note.digest, about.digest}
    assert made.freed == 111 + own(one, note, about)
    make_tag(repository, "note", note)
    Manifest.objects.filter(pk=note.pk).update(untagged_at=None)
    kept = plan_of("1")
    # The tagged referrer keeps what refers to it, and that is the subject of the image.
    assert (kept.referrers, kept.freed) == ((), 0)


def test_a_tagged_referrer_of_an_image_that_stays_is_kept_without_its_tag(
    repository: Repository,
) -> None:
    one = image(repository, "a", "1", layers=(100,))
    image(repository, "note", "note", layers=(5,), subject_digest=one.digest)
    made = plan_of("note")
    assert (made.freed, made.staying[0].staying, made.staying[0].listed_by) == (0, (), ())


def test_the_fallback_tag_goes_with_its_image_and_its_referrers(repository: Repository) -> None:
    one = image(repository, "a", "1", layers=(100,))
    note = image(repository, "note", layers=(5,), subject_digest=one.digest)
    fallback = make_image_index(repository, "fallback", [note])
    name = one.digest.replace(":", "-")
    make_tag(repository, name, fallback, refers_to=one.digest)
    made = plan_of("1")
    assert [item.tag for item in made.referrer_tags] == [name]
    assert (made.referrers, made.children) == ((note.digest,), 0)
    assert made.freed == 105 + own(one, note, fallback)


def test_a_referrer_tag_whose_image_is_not_here_is_a_tag_like_any_other(
    repository: Repository,
) -> None:
    image(repository, "a", "1", layers=(100,))
    gone = digest_of("gone")
    make_tag(
        repository,
        f"{gone.replace(':', '-')}.sig",
        make_manifest(repository, "s"),
        refers_to=gone,
    )
    assert plan_of("1").referrer_tags == ()
    assert len(plan_of(is_all=True).going) == 2


def test_protected_tags_are_left_out_and_keep_their_image(repository: Repository) -> None:
    one = image(repository, "a", "1", "latest", layers=(100,))
    attach(repository, one)
    rule = protection.add(R, "latest", note="", by="test")
    made = plan_of(is_all=True)
    assert (names(made), made.referrer_tags) == (["1"], ())
    (left,) = made.left_out
    assert (left.tag, left.reason, left.protection) == ("latest", "protected", rule.pk)
    assert not made.is_complete
    assert plan_of("1").staying[0].staying == ("latest",)


def test_a_repository_goes_with_all_referrers_in_it(repository: Repository) -> None:
    one = image(repository, "a", "1", layers=(100,))
    left_behind = image(repository, "b", layers=(50,))
    signatures = [attach(repository, one), attach(repository, left_behind)]
    lost = digest_of("gone")
    make_tag(
        repository,
        f"{lost.replace(':', '-')}.sig",
        make_manifest(repository, "s"),
        refers_to=lost,
    )
    made = plan_of(is_all=True)
    assert len(made.going) == 2  # 1, and the signature of nothing
    assert {item.digest for item in made.referrer_tags} == {item.digest for item in signatures}
    assert made.is_complete


def test_a_protected_signature_stays_alone(repository: Repository) -> None:
    one = image(repository, "a", "1", layers=(100,))
    attach(repository, one)
    protection.add(R, "*.sig", note="", by="test")
    made = plan_of("1")
    assert (made.referrer_tags, made.is_complete) == ((), False)


def test_what_is_not_there_is_said(repository: Repository) -> None:
    image(repository, "a", "1")
    made = plan_of("1", "nope", manifests=(digest_of("x"),))
    assert [(one.tag, one.reason) for one in made.left_out] == [
        ("nope", "missing"),
        (digest_of("x"), "missing"),
    ]
    with pytest.raises(Refused, match="no repository"):
        plan(Selection("team/none", tags=("1",)))
    with pytest.raises(Refused, match="Not a valid tag pattern"):
        plan_of(pattern="a?b")


def test_a_pattern_means_full_names_and_no_referrer_tags(repository: Repository) -> None:
    one = image(repository, "a", "pr-1", "pr-2", "my-pr-3", layers=(1,))
    attach(repository, one)
    assert set(names(plan_of(pattern="pr-*"))) == {"pr-1", "pr-2"}
    assert set(names(plan_of(pattern="pr-1 my-*"))) == {"pr-1", "my-pr-3"}
    assert plan_of(pattern="sha256-*").going == ()
    assert len(plan_of(pattern="*").referrer_tags) == 1


def test_an_untagged_manifest_goes_if_nothing_needs_it(repository: Repository) -> None:
    loose = image(repository, "loose", layers=(10,))
    child = image(repository, "child", layers=(20,))
    listing = image_index(repository, "index", [child], "1")
    made = plan_of(manifests=(loose.digest, child.digest, listing.digest))
    assert [(one.tag, one.digest) for one in made.going] == [("", loose.digest)]
    assert {(one.tag, one.reason) for one in made.left_out} == {
        (child.digest, "busy"),
        (listing.digest, "busy"),
    }
    assert made.freed == 10 + own(loose)


def test_a_dangling_tag_can_go(repository: Repository) -> None:
    make_tag(repository, "1", None, problem=Tag.Problem.DANGLING)
    made = plan_of("1")
    assert (made.going[0].digest, made.freed) == ("", 0)


def test_the_fingerprint_follows_names_and_digests_only(repository: Repository) -> None:
    one = image(repository, "a", "1", layers=(100,))
    before = plan_of("1").fingerprint
    Tag.objects.update(pulled_at=timezone.now())
    image(repository, "b", "2", layers=(100,))
    assert plan_of("1").fingerprint == before
    make_tag(repository, "latest", one)
    assert plan_of("1").fingerprint != before
    Tag.objects.filter(name="latest").delete()
    assert plan_of("1").fingerprint == before
    Tag.objects.update(manifest=Manifest.objects.exclude(pk=one.pk).get())
    assert plan_of("1").fingerprint != before


@pytest.mark.parametrize("count", [3, 1000])
def test_a_thousand_tags_are_planned_with_as_many_queries_as_three(
    repository: Repository, count: int, django_assert_max_num_queries: Any
) -> None:
    base = image(repository, "base", "base", layers=(1, 2))
    manifests = Manifest.objects.bulk_create(
        Manifest(
            repository=repository,
            digest=digest_of(f"many {number}"),
            kind=Manifest.Kind.IMAGE,
            raw=b"{}",
            size=3,
        )
        for number in range(count)
    )
    edges = list(base.edges.values_list("blob_id", "role", "position"))
    base.edges.model.objects.bulk_create(
        base.edges.model(
            manifest=one, repository=repository, blob_id=blob, role=role, position=position
        )
        for one in manifests
        for blob, role, position in edges
    )
    for blob, *_rest in edges:
        base.edges.model._meta.get_field("blob").related_model.objects.filter(pk=blob).update(
            manifest_count=count + 1
        )
    Tag.objects.bulk_create(
        Tag(repository=repository, name=f"t{number}", manifest=one, size=3)
        for number, one in enumerate(manifests)
    )
    tags = tuple(f"t{number}" for number in range(count))
    with django_assert_max_num_queries(16):
        made = plan_of(*tags)
    assert (len(made.going), made.freed) == (count, 2 * count)
    assert plan_of(*tags, "base").freed == 2 * count + 3 + own(base)


def test_a_purge_takes_what_only_that_digest_uses_and_leaves_what_undo_needs(
    repository: Repository,
) -> None:
    shared, lone = image(repository, "s", layers=(10,)), image(repository, "l", layers=(20, 30))
    bad = image_index(repository, "bad", [shared, lone], "1", "latest")
    signature = attach(repository, bad)
    deleted = image_index(repository, "deleted", [shared])
    holder = image_index(repository, "holder", [bad], "all")
    other = make_repository("other/api")
    image(other, "x", "1", digest=bad.digest, layers=(30,))
    until = timezone.now() + timedelta(days=1)
    for digest in (deleted.digest, bad.digest):
        TagTombstone.objects.create(
            repository=R, tag="old", digest=digest, how="deleted", at=timezone.now(),
            keep_until=until,
        )  # fmt: skip
    made = plan_purge(R, bad.digest)
    assert set(made.tags) == {"1", "latest"}
    assert (made.children, made.tombstones) == ((lone.digest,), 1)
    assert made.referrer_tags == (f"sha256-{bad.digest[7:]}.sig",)
    assert (made.listed_by, made.elsewhere) == ((holder.digest,), ("other/api",))
    # The digest's own bytes and the layer of 30 are used elsewhere; 7 is the signature's layer.
    assert made.freed == 20 + 7 + own(lone, signature)
    TagTombstone.objects.filter(digest=deleted.digest).delete()
    assert set(plan_purge(R, bad.digest).children) == {lone.digest, shared.digest}
    with pytest.raises(Refused, match="no such manifest"):
        plan_purge(R, digest_of("none"))


def test_entries_of_other_repositories_keep_nothing(repository: Repository) -> None:
    one = image(repository, "a", "1", layers=(100,))
    other = make_repository("other/api")
    far = image_index(other, "index", [], "1")
    ImageIndexEntry.objects.create(image_index=far, position=0, digest=one.digest)
    assert plan_of("1").freed == 100 + own(one)
