"""Deleting from the pages, on a real registry: the plan that is shown, the act, and its undo."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.deletion import bulk, protection
from registryui.models import Manifest, Protection, Repository, Run, Tag, TagTombstone
from tests.support.deletion_pages import World, bare, text_of
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db

CHIP = re.compile(r'class="chip">([^<]+)<')
HOSTILE = ['"><script>alert(1)</script>', "\x00", "../../etc", "a" * 5000, "team/api\nX: y", ""]


def chips(text: str) -> list[str]:
    return CHIP.findall(text.partition('class="dialog"')[2])


# -- the plan ------------------------------------------------------------------------------------


def test_the_plan_names_what_goes_and_what_stays_and_changes_nothing(world: World) -> None:
    shared = world.push("1.0", "stable", layer="one")
    world.push("2.0", layer="two")
    world.sync()
    text = world.plan(tag=["1.0", "2.0"])
    assert chips(text) == ["2.0", "1.0"]
    said = bare(text)
    assert "Delete 2 tags from" in said
    assert "2 tags will be deleted" in said
    assert "1 image has no other tag and is deleted with it." in said
    assert "1.0 is the same image as stable. Only the tag is deleted." in said
    assert "Can be restored until" in said
    assert (world.now("1.0"), world.now("2.0") != "") == (shared, True)
    assert not TagTombstone.objects.exists()
    assert 'name="number"' not in text


def test_a_delete_takes_only_the_named_tag_off_and_its_message_undoes_it(world: World) -> None:
    shared = world.push("1.0", "stable", layer="one")
    world.sync()
    answer = world.delete(world.plan(tag="1.0", back=f"{world.page}:1.0"))
    assert answer.redirect_chain == [(world.page, 302)]
    text = text_of(answer)
    assert f"Deleted {world.name}:1.0. It can be restored for 7 days." in bare(text)
    assert (world.now("1.0"), world.now("stable")) == ("", shared)
    assert Tag.objects.filter(repository__name=world.name).count() == 1
    act = re.search(r'name="act" value="([^"]+)"', text)
    assert act
    answer = world.client.post("/restore", {"act": act[1], "back": world.page}, follow=True)
    assert answer.redirect_chain == [(world.page, 302)]
    assert f"Restored {world.name}:1.0." in bare(text_of(answer))
    assert world.now("1.0") == shared


def test_after_a_delete_the_list_is_as_it_was_but_for_what_was_chosen(world: World) -> None:
    world.push("1.0", "1.1", "2.0", layer="one")
    world.sync()
    there = f"{world.page}?q=1&sort=size"
    answer = world.delete(world.plan(tag="1.0", back=f"{there}&tag=1.0"))
    assert answer.redirect_chain == [(there, 302)]
    assert f'name="back" value="{there}"' in text_of(answer)  # of its undo


def test_more_than_ten_tags_need_their_number_typed(world: World) -> None:
    names = [f"1.{n}" for n in range(11)]
    world.push(*names, layer="one")
    world.sync()
    text = world.plan(tag=names)
    assert 'name="number"' in text
    for typed in ("", "10", "eleven", "111"):
        answer = world.delete(text, number=typed)
        assert answer.status_code == 409
        assert "The number does not match" in text_of(answer)
        assert world.now("1.0")
    answer = world.delete(text, number=" 11 ")
    assert f"Deleted 11 tags of {world.name}." in bare(text_of(answer))
    assert not any(world.now(name) for name in names)


def test_a_plan_that_is_no_longer_true_is_shown_anew_and_nothing_goes(world: World) -> None:
    world.push("1.0", layer="one")
    world.sync()
    text = world.plan(tag="1.0")
    newer = world.push("1.0", layer="newer")
    world.sync()
    answer = world.delete(text)
    assert answer.status_code == 409
    assert "The content has changed since this page was loaded. Nothing was deleted" in text_of(
        answer
    )
    assert world.now("1.0") == newer
    assert f"Deleted {world.name}:1.0." in bare(text_of(world.delete(text_of(answer))))
    assert not world.now("1.0")


def test_a_tag_that_moved_in_the_registry_only_is_said_and_stays(world: World) -> None:
    """The index has not heard of the push yet."""
    world.push("1.0", layer="one")
    world.sync()
    text = world.plan(tag="1.0")
    newer = world.push("1.0", layer="newer")
    answer = world.delete(text)
    assert f"Not done: {world.name}:1.0: it was pushed in the meantime" in bare(text_of(answer))
    assert world.now("1.0") == newer


def test_protected_and_missing_tags_are_left_out_and_named(world: World) -> None:
    world.push("1.0", "prod-1", layer="one")
    world.sync()
    protection.add(world.name, "prod-*", note="", by="tests")
    text = world.plan(tag=["1.0", "prod-1", "never"])
    said = bare(text)
    assert "1 tag will be deleted" in said
    assert "1 protected tag is skipped" in said
    assert "Already deleted" in said
    assert chips(text) == ["1.0", "prod-1", "never"]
    rule = f"/maintenance/protected?rule={Protection.objects.get().pk}"
    assert f'href="{rule}"' in text.partition('class="dialog"')[2]
    world.delete(text)
    assert (world.now("1.0"), bool(world.now("prod-1"))) == ("", True)


def test_a_plan_in_which_nothing_goes_has_no_button(world: World) -> None:
    world.push("prod-1", layer="one")
    world.sync()
    protection.add(world.name, "prod-*", note="", by="tests")
    text = world.plan(tag="prod-1")
    rule = f'href="/maintenance/protected?rule={Protection.objects.get().pk}"'
    assert rule in text.partition('class="dialog"')[2]
    assert "Nothing selected can be deleted" in text
    assert "button--danger" not in text.partition('class="dialog"')[2]
    world.delete(text)
    assert world.now("prod-1")


def test_a_signature_goes_with_its_image(world: World) -> None:
    digest = world.push("1.0", layer="one")
    signature = digest.replace(":", "-") + ".sig"
    world.push(signature, layer="signature")
    world.sync()
    text = world.plan(tag="1.0")
    assert "1 referrer tag is deleted with its image" in bare(text)
    assert "1 × Signature" in text
    world.delete(text)
    assert not world.now(signature)


def test_the_plan_says_when_it_was_pulled_last_and_by_whom(world: World) -> None:
    world.push("1.0", layer="one")
    world.sync()
    assert "No pull recorded." in bare(world.plan(tag="1.0"))
    at = timezone.now() - timedelta(days=9)
    Tag.objects.update(pulled_at=at)
    Manifest.objects.update(pulled_at=at, pulled_by="k8s-prod")
    said = bare(world.plan(tag="1.0"))
    assert "1.0 was pulled 9 d ago by k8s-prod. New machines" in said
    Tag.objects.update(pulled_at=timezone.now() - timedelta(days=90))
    assert "Last pull of any of them:" in bare(world.plan(tag="1.0"))


# -- many at once --------------------------------------------------------------------------------


def test_all_that_match_the_filter_go_and_the_filter_is_asked_again(world: World) -> None:
    world.push("rc-1", "2-rc", layer="one")
    world.push("2.0", layer="two")
    world.sync()
    listed = text_of(world.client.get(world.page, {"q": "rc"}))
    assert "Delete all 2 matches…" in listed
    text = world.plan(q="rc", matching="1")
    assert sorted(chips(text)) == ["2-rc", "rc-1"]
    world.push("rc-9", layer="nine")
    world.sync()
    again = world.delete(text)
    assert again.status_code == 409
    assert sorted(chips(text_of(again))) == ["2-rc", "rc-1", "rc-9"]
    world.delete(text_of(again))
    assert [bool(world.now(tag)) for tag in ("rc-1", "2-rc", "rc-9", "2.0")] == [
        *(False, False, False, True),
    ]


def test_an_empty_filter_is_not_all_tags(world: World) -> None:
    world.push("1.0", layer="one")
    world.sync()
    answer = world.client.post(
        "/delete", {"repository": world.name, "q": " ", "matching": "1"}, follow=True
    )
    assert "Enter a filter first" in text_of(answer)
    assert "Delete all" not in text_of(world.client.get(world.page))


def test_a_repository_goes_and_comes_back(world: World) -> None:
    world.push("1.0", layer="one")
    world.push("2.0", layer="two")
    world.sync()
    text = world.plan(all="1")
    assert f"Delete the repository {world.name}?" in bare(text)
    answer = world.delete(text)
    assert f"Deleted 2 tags of {world.name}." in bare(text_of(answer))
    assert (world.now("1.0"), world.now("2.0")) == ("", "")
    act = TagTombstone.objects.filter(repository=world.name).values_list("act", flat=True).first()
    world.client.post("/restore", {"act": act})
    assert {tag: world.now(tag) for tag in ("1.0", "2.0")} == world.digests


def test_untagged_manifests_are_chosen_or_all_but_signatures_of_what_stays(world: World) -> None:
    lost = world.push("1.0", layer="one")
    world.sync()
    world.push("1.0", layer="newer")
    about = world.push("about", layer="signature", subject=world.digests["1.0"])
    world.sync()
    world.delete(world.plan(tag="about"))  # now it has no tag, and is about an image that stays
    repository = Repository.objects.get(name=world.name)
    assert set(
        repository.manifests.filter(untagged_at__isnull=False).values_list("digest", flat=True)
    ) == {lost, about}
    listed = text_of(world.client.get(world.page, {"show": "untagged"}))
    assert listed.count('name="manifest"') == 2
    assert chips(world.plan(untagged="1")) == [lost.partition(":")[2][:12]]
    text = world.plan(manifest=[lost])
    assert "Delete 1 untagged manifest" in bare(text)
    answer = world.delete(text)
    assert answer.redirect_chain == [(f"{world.page}?show=untagged", 302)]
    listed = text_of(answer)
    assert "Deleted " in bare(listed)
    assert bare(listed).count("restore period ends in 7 days") == 2
    assert f'value="{lost}"' not in listed  # it is deleted already: it has no box
    none = world.client.post("/delete", {"repository": world.name, "untagged": "1"}, follow=True)
    assert "Nothing selected" in text_of(none)


def test_many_are_a_run_that_can_be_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BULK", 3)
    names = [f"1.{n}" for n in range(12)]
    world.push(*names, layer="one")
    world.sync()
    text = world.plan(tag=names)
    assert "This takes a while." in text
    answer = world.delete(text, number="12")
    run = Run.objects.get(kind=Run.Kind.DELETE)
    assert answer.redirect_chain == [(f"/delete/runs/{run.pk}", 302)]
    assert (run.state, run.done, run.result["changed"]) == ("done", 12, 12)
    assert "Deleted 12 tags." in bare(text_of(answer))
    assert not any(world.now(name) for name in names)
    answer = world.client.post("/restore", {"act": run.result["act"]}, follow=True)
    undone = Run.objects.filter(kind=Run.Kind.DELETE).latest("pk")
    assert answer.redirect_chain == [(f"/delete/runs/{undone.pk}", 302)]
    assert "Restored 12 tags." in bare(text_of(answer)).replace("digests", "digest")
    assert all(world.now(name) for name in names)


def test_a_run_is_stopped_and_says_what_is_done(world: World) -> None:
    world.push("1.0", layer="one")
    run = bulk.begin("delete", world.name, total=100, by="operator:mika")
    page = f"/delete/runs/{run.pk}"
    text = text_of(world.client.get(page))
    seen = re.search(r"seen=([^\"&]+)", text)
    assert seen
    assert 'action="' + page + '/stop"' in text
    fragment = {"HTTP_HX_REQUEST": "true"}
    assert world.client.get(page, {"seen": seen[1]}, **fragment).status_code == 204
    said = text_of(world.client.post(f"{page}/stop", follow=True))
    assert "Stopping after the current tag." in said
    assert world.client.get(page, {"seen": seen[1]}, **fragment).status_code == 200
    run.refresh_from_db()
    assert run.stop_asked_by == "operator:mika"
    with pytest.raises(bulk.Refused):
        bulk.begin("delete", world.name, total=100, by="operator:mika")


def test_a_run_that_nothing_is_heard_of_says_so(world: World) -> None:
    run = bulk.begin("delete", world.name, total=100, by="operator:mika")
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    assert "The worker has not responded" in text_of(world.client.get(f"/delete/runs/{run.pk}"))


# -- the pages that lead there -------------------------------------------------------------------


def test_a_viewer_sees_no_way_to_delete(world: World) -> None:
    digest = world.push("1.0", layer="one")
    world.sync()
    vera = Client()
    vera.force_login(make_operator("vera"))
    listed = "/maintenance/recently-deleted"
    for page in (world.page, f"{world.page}:1.0", f"{world.page}@{digest}", listed):
        text = text_of(vera.get(page))
        assert "/delete" not in text
        assert "/restore" not in text


def test_what_is_chosen_stays_chosen_over_pages(world: World) -> None:
    names = [f"1.{n}" for n in range(60)]
    world.push(*names, layer="one")
    world.sync()
    first = text_of(world.client.get(world.page, {"tag": ["1.59", "1.0", "gone"]}))
    assert '<input type="hidden" name="tag" value="1.0">' in first
    assert re.search(r'value="1.59" checked', first)
    assert "and 1 on other pages" in first
    after = re.search(r'name="after" value="([^"]+)" id="page-next"', first)
    assert after
    second = text_of(world.client.get(world.page, {"tag": ["1.59", "1.0"], "after": after[1]}))
    assert '<input type="hidden" name="tag" value="1.59">' in second
    assert re.search(r'value="1.0" checked', second)
    words = world.client.get(
        world.page, {"tag": ["1.59", "1.0"]}, HTTP_HX_REQUEST="true", HTTP_HX_TARGET="chosen"
    )
    assert "2 tags" in bare(text_of(words))
    assert "1 image" in bare(text_of(words))


def test_an_address_that_is_full_of_tags_says_so(world: World) -> None:
    names = [f"{'x' * 100}{n}" for n in range(60)]
    world.push(*names, layer="one")
    world.sync()
    text = text_of(world.client.get(world.page, {"tag": names[:20]}))
    assert "No more can be selected across pages" in text
    assert 'id="page-next" href=' in text


def test_the_token_of_the_form_is_in_no_address(world: World) -> None:
    """Compare and the pager are GET: their addresses are shared."""
    world.push("1.0", layer="one")
    world.sync()
    form = text_of(world.client.get(world.page)).partition('id="choose"')[2].partition("</form>")[0]
    assert '<input type="hidden" name="csrfmiddlewaretoken"' not in form
    assert form.count("csrfmiddlewaretoken") == 1


def test_the_page_of_a_deleted_tag_offers_to_put_it_back(world: World) -> None:
    digest = world.push("1.0", "2.0", layer="one")
    world.sync()
    world.delete(world.plan(tag="1.0"))
    answer = world.client.get(f"{world.page}:1.0")
    assert answer.status_code == 404
    tombstone = re.search(r'name="tombstone" value="(\d+)"', text_of(answer))
    assert tombstone
    back = {"tombstone": tombstone[1], "back": f"{world.page}:1.0"}
    answer = world.client.post("/restore", back, follow=True)
    assert answer.status_code == 200
    assert world.now("1.0") == digest


def test_hostile_fields_do_nothing(world: World, subtests: pytest.Subtests) -> None:
    world.push("1.0", layer="one")
    world.sync()
    names = ("repository", "tag", "manifest", "q", "back", "fingerprint")
    for name, text in itertools.product(names, HOSTILE):
        with subtests.test(name=name, text=text):
            fields = {"repository": world.name, "tag": "1.0", "matching": "1", "q": "zzz"}
            answer = world.client.post("/delete", {**fields, name: text})
            assert answer.status_code in (200, 302, 409)
            assert "<script>alert" not in answer.content.decode()
            if answer.status_code == 302:
                assert answer["Location"].startswith("/repositories/")
            assert world.now("1.0")


def test_hostile_fields_restore_nothing(world: World, subtests: pytest.Subtests) -> None:
    for name, text in itertools.product(("tombstone", "act", "expected", "back"), HOSTILE):
        with subtests.test(name=name, text=text):
            answer = world.client.post("/restore", {name: text})
            assert answer.status_code == 302
            assert answer["Location"].startswith("/maintenance/recently-deleted")


def test_a_plan_costs_the_same_for_many_tags(world: World) -> None:
    names = [f"1.{n}" for n in range(40)]
    world.push(*names, layer="one")
    world.sync()

    def count(tags: list[str]) -> int:
        with CaptureQueriesContext(connection) as queries:
            world.plan(tag=tags)
        return len(queries)

    few = count(names[:2])
    assert count(names[:38]) <= few <= 40
