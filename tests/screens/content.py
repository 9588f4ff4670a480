"""A portal with something of every kind, the same at each call. No registry runs: the images of
`./boathouse demo` are read from memory, and what clients and operators did is written down."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.test import override_settings

from registryui import audit, descriptions, doctor, tls
from registryui.accounts import publish, rights, users
from registryui.audit import check as audit_check
from registryui.backup import backups
from registryui.deletion import protection
from registryui.demo.images import make_images
from registryui.gc import access
from registryui.imports import run as importing
from registryui.imports import uploads
from registryui.index import sizes
from registryui.index.sync import sync
from registryui.mirrors import mirrors
from registryui.mirrors.mirrors import Wanted as Upstream
from registryui.models import (
    Delivery,
    ImportedTag,
    Manifest,
    Mirror,
    Operator,
    Receiver,
    RegistryUser,
    Repository,
    RetentionFate,
    Role,
    Run,
    StoreDay,
    Tag,
    TagTombstone,
)
from registryui.notify import deliveries, messages, receivers
from registryui.notify.receivers import Wanted as ToSend
from registryui.oci.digest import sha256
from registryui.quotas import quotas
from registryui.registry.source import Stored
from registryui.retention import policies, runs
from registryui.retention.policies import Wanted
from tests.support import pushed
from tests.support.factories import (
    digest_of,
    make_activity,
    make_event,
    make_maintainer,
    make_operator,
    make_tombstone,
)
from tests.support.fake_source import FakeSource
from tests.support.run_rows import make_check, make_run

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
API = "platform/api"
WHO = ("ci-team", "anna", "k8s-prod")
AUTHORITY = tls.Certificate(
    subject="Boathouse CA registry.example.net 0a1b2c3d",
    names=(),
    not_before=NOW - timedelta(days=100),
    not_after=NOW + timedelta(days=3552),
    fingerprint=":".join(f"{number * 7 % 256:02X}" for number in range(32)),
    key="ECDSA P-256",
    issuer="Boathouse CA registry.example.net 0a1b2c3d",
    is_ca=True,
    may_sign=("registry.example.net", "127.0.0.1"),
)
SERVER = replace(
    AUTHORITY,
    subject="registry.example.net",
    names=("registry.example.net", "localhost", "127.0.0.1", "::1"),
    not_after=NOW + timedelta(days=297),
    fingerprint=":".join(f"{number * 11 % 256:02X}" for number in range(32)),
    is_ca=False,
    may_sign=(),
)


@contextmanager
def fixed_surroundings() -> Iterator[None]:
    """Nothing on a page comes from this machine: no key, no certificate, no store, no worker."""
    settings.SECRET_KEY = "of the pictures"
    settings.RIGHTS_DIR.mkdir(exist_ok=True)
    settings.RUN_DIR.mkdir(exist_ok=True)

    def certificate(path: Path) -> tls.Certificate:
        return AUTHORITY if path.name == "ca.crt" else SERVER

    with ExitStack() as stack:
        stack.enter_context(patch.object(tls, "read_certificate", certificate))
        stack.enter_context(patch.object(access, "obstacle", str))
        yield


def make_operators() -> None:
    """Who looks at the pages: ada, mo and vera, of the three roles; nils is disabled."""
    make_operator("ada", Role.ADMIN)
    make_maintainer("mo", ("pull", "*"), ("push", "platform/*"), longest_days=90)
    make_operator("vera")
    make_operator("nils", is_active=False)


README = """# platform/api

Answers the *prices* of everything, for **web** and `shop`.

| variable | default | meaning |
| --- | --- | --- |
| `PORT` | 8000 | where it listens |
| `CACHE` | 64 MB | memory for answers |

## Run it

```
docker run -p 8000:8000 -e CACHE=128MB registry.example.net:8443/platform/api
```

1. Ask [the team](https://wiki.example.com/platform) for a key.
2. Set it.
   - in `values.yaml`, or
   - as `API_KEY`

> It needs the database of `data/postgres`.

<details><summary>History</summary>Once it was two services.</details>
"""


def fill() -> dict[str, Any]:
    """What the addresses of pages.py name: ids and digests."""
    facts = _images()
    facts |= dict(Operator.objects.values_list("username", "pk"))
    descriptions.describe(
        API, by="operator:mo", text="Answers the prices of everything", readme=README
    )
    _past()
    facts |= _deleted()
    facts |= _users()
    facts |= _work()
    facts |= _mirrors()
    facts |= _imports()
    facts |= _receivers()
    _backups()
    audit.record("audit.export", "", by="operator:ada", details={"form": "csv"})
    audit_check.check(by="schedule")
    return facts


def _images() -> dict[str, Any]:
    source = FakeSource()
    for repository in make_images():
        for made in repository.made:
            for one in (*made.children, made):
                blobs = source.blobs_of[repository.name]
                blobs |= {sha256(blob): blob for blob in one.blobs}
                source.manifests_of[repository.name][one.digest] = Stored(
                    one.digest, one.media_type, one.raw
                )
            tags = dict.fromkeys(made.tags, made.digest)
            source.tags_of.setdefault(repository.name, {}).update(tags)
    assert sync(source, by="start")
    pushed.schema1("legacy/old", tags=["old"])
    pushed.dangling("legacy/old", "gone")
    pushed.dangling("legacy/old", "unreadable", "unreadable")
    pushed.image("legacy/old", tags=["half"], missing=["sha256:" + "5" * 64])
    pushed.image_index("legacy/old", [], tags=["nothing-in-it"])
    broken = pushed.image("legacy/old", tags=["broken"], layers=[("cracked", 5_000_000)])
    Tag.objects.filter(manifest=broken.row).update(problem=Tag.Problem.BROKEN)
    untagged = pushed.image(API, layers=[("debian", 28_000_000), ("candidate", 9_000_000)])
    pushed.image(API, layers=[("debian", 28_000_000), ("candidate 2", 9_100_000)])
    alone = pushed.artifact("notes", tags=["1", "2"])
    assert alone
    index = Tag.objects.get(repository__name=API, name="2.14.0").manifest
    postgres = Tag.objects.get(repository__name="data/postgres", name="16.4").manifest
    assert index
    assert postgres
    layer = postgres.edges.filter(role="layer").order_by("position").first()
    return {
        "index": index.digest,
        "untagged": untagged.digest,
        "postgres": postgres.digest,
        "layer": layer.blob.digest,
    }


def _past() -> None:
    """Pushes of ten weeks, pulls of thirty days, and the store as it grew."""
    tags = list(Tag.objects.select_related("repository", "manifest").order_by("-id"))
    for number, tag in enumerate(tags):
        at = NOW - timedelta(minutes=7 + number * number * 11)
        tag.tagged_at, tag.tagged_by = at, WHO[number % 3]
        if number % 3:
            tag.pulled_at = NOW - timedelta(hours=1 + number * 5)
        tag.save()
        digest = tag.manifest.digest if tag.manifest else ""
        make_event(
            tag.repository.name, tag=tag.name, digest=digest, at=at, applied_at=at,
            actor=WHO[number % 3], address="192.0.2.7", client="docker/29.1.1 go/go1.25",
        )  # fmt: skip
    for number, repository in enumerate(Repository.objects.all()):
        newest = repository.tags.filter(refers_to="").order_by("-tagged_at").first()
        if newest is None:
            continue
        Repository.objects.filter(pk=repository.pk).update(
            pushed_at=newest.tagged_at, pushed_by=newest.tagged_by, newest_tag=newest.name,
            pull_count=number * 411, pulled_at=NOW - timedelta(hours=number), changed_at=NOW,
        )  # fmt: skip
        for back in range(30):
            day = (NOW - timedelta(days=back)).date()
            pulls = (number * 13 + back * back * 7) % 60 if back % 6 else 0
            make_activity(repository, day, pulls=pulls, pushes=(number + back) % 4)
    for back in range(1, 60):
        at = NOW - timedelta(days=back)
        row, _new = StoreDay.objects.get_or_create(day=at.date())
        row.measured_at, row.size = at, 38_000_000 - back * 310_000 + back % 7 * 90_000
        row.save()
    Manifest.objects.filter(tags__name="2.14.0").update(
        pulled_at=NOW - timedelta(hours=2), pulled_by="k8s-prod"
    )
    sizes.measure(by="schedule")


def _deleted() -> dict[str, Any]:
    """What can be restored, and what may not be deleted."""
    tag = Tag.objects.filter(repository__name=API, name="2.13.2")
    tag.update(expires_at=NOW + timedelta(days=3))
    older = tag.get().manifest
    assert older
    for number, digest in enumerate((older.digest, digest_of("gone"))):
        at = NOW - timedelta(days=number + 1)
        make_event(API, tag="latest", digest=digest, at=at, applied_at=at, actor="ci-team")
    kept = {"how": TagTombstone.How.OVERWRITTEN, "at": NOW - timedelta(days=1), "by": "ci-team"}
    taken = make_tombstone(API, "latest", digest=older.digest, **kept)
    make_tombstone("shop/web", "1.0", by="anna", address="192.0.2.9", at=NOW)
    for number in range(14):
        make_tombstone("shop/checkout", f"pr-{number}", act="a" * 32, size=number * 10**6)
    make_tombstone("gone/away", "v1", keep_until=NOW + timedelta(hours=2), by="operator:mo")
    make_tombstone(API, "0.9", at=NOW - timedelta(hours=30))
    protection.add(API, "2.13.* stable", note="released <b>versions</b>", by="operator:ada")
    for name, size, tags in (("platform", 10**9, 40), ("library", 1, None), ("shop", None, 9000)):
        quotas.set_limits(name, limit_bytes=size, limit_tags=tags, by="operator:ada")
    protection.add("library/*", "*", note="", by="operator:ada", is_immutable=True)
    return {"taken": taken.pk, "older": older.digest}


def _users() -> dict[str, Any]:
    """Registry users of each state, a file that was edited by hand, and its versions."""
    may = rights.parse([("pull", "*"), ("push", "platform/*"), ("delete", "platform/api")])
    ci = users.create(
        "ci-team", by="operator:ada", may=may, note="pipelines <of> the platform team"
    ).user
    prod = users.create("k8s-prod", by="operator:ada", may=rights.parse([("pull", "*")])).user
    anna = users.create("anna", by="operator:ada", password="four boats on a lake", cost=5).user
    soon = users.create("soon", by="operator:ada", expires_at=NOW + timedelta(days=3)).user
    off = users.create("retired", by="operator:ada").user
    users.set_active([off], is_active=False, by="operator:ada")
    users.rotate(ci, by="operator:ada", overlap=timedelta(days=2))
    weak = users.adopt({"weak": "{SHA}" + "A" * 27 + "="}, by="operator:ada", may=users.ADOPTED)
    publish.write([weak[0].pk])
    RegistryUser.objects.filter(pk=prod.pk).update(
        used_at=NOW - timedelta(minutes=3), used_from="192.0.2.4", used_with="containerd/2.1"
    )
    RegistryUser.objects.filter(pk=soon.pk).update(made_at=NOW - timedelta(days=200))
    anna.owner = Operator.objects.get(username="mo")
    anna.save()
    with Path(settings.HTPASSWD_FILE).open("a") as file:
        file.write("by-hand:{SHA}" + "B" * 27 + "=\nodd name:whatever\n")
    # Their names are times of this run, and the page shows when they were written.
    versions = sorted(settings.VERSIONS_DIR.iterdir())
    for number, path in enumerate(versions, start=1):
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))
        path.rename(path.with_name(f"{number:020}"))
    return {"user": ci.pk, "weak": weak[0].pk, "anna": anna.pk, "version": len(versions)}


def _work() -> dict[str, Any]:
    """Runs of each kind that are over."""
    draft = policies.add(
        Wanted("old builds", "platform/*", "2.1* 2.2*", keep_newest=3, schedule="0 4 * * SUN"),
        by="operator:ada",
    )
    active = policies.add(
        Wanted(
            "everything else", "*", keep_pushed_days=30, keep_pulled_days=90, keep_tags="latest"
        ),
        by="operator:mo",
    )
    active = policies.set_active(active, is_active=True, by="operator:ada")
    dry = runs.carry_out(runs.begin(draft, by="operator:ada", is_dry=True))
    asked = runs.carry_out(runs.begin(active, by="operator:ada", is_dry=True))
    failed = runs.begin(active, by="schedule", is_dry=False, due=NOW - timedelta(days=2))
    rows = [
        RetentionFate(
            run=failed, kind=kind, repository=API, tag=f"2.0.{n}", reason="goes", note=note
        )
        for n, (kind, note) in enumerate(
            (("goes", ""), ("failed", "moved"), ("failed", "<b>500</b>"))
        )
    ]
    RetentionFate.objects.bulk_create(rows)
    end = {"state": Run.State.FAILED, "finished_at": NOW, "done": 3, "total": 3}
    Run.objects.filter(pk=failed.pk).update(**end)
    deleted = Run.objects.create(
        kind=Run.Kind.DELETE, state=Run.State.DONE, by="operator:ada", heartbeat_at=NOW,
        finished_at=NOW, done=14, total=14, log="pr-3: moved meanwhile\npr-4: <b>500</b>",
        result={"what": "delete", "repository": "shop/checkout", "act": "a" * 32, "changed": 12,
                "failed": 2},
    )  # fmt: skip
    make_run(minutes=9000, dry_run=True, stages=[{"name": "mark", "seconds": 58.4}])
    gc = make_run(minutes=200, due_at=(NOW + timedelta(hours=20)).isoformat())
    check = make_check()
    away = {"ms": 1, "version": "", "url": "unix:/d/registry", "error": "refused"}
    doctor.record([doctor.Finding("registry", "bad", "registry-unreachable", away)])
    before = NOW - timedelta(minutes=8)
    Run.objects.filter(kind=Run.Kind.DOCTOR).update(
        started_at=before, heartbeat_at=before, finished_at=before
    )
    looked = doctor.record(FINDINGS)
    assert looked
    return {
        "draft": draft.pk, "active": active.pk, "dry": dry.pk, "asked": asked.pk,
        "failed": failed.pk,
        "deleted": deleted.pk, "gc": gc.pk, "check": check.pk, "round": f"{looked.pk}-ok",
    }  # fmt: skip


def _receivers() -> dict[str, Any]:
    """A webhook with messages in each state, mail, and a disabled one that was never used."""
    url = "https://hooks.example.net/services/token"
    with override_settings(SMTP_HOST="mail.example.net"):
        chat, _secret = receivers.add(
            "chat",
            ToSend("webhook", url, has_pushes=True, has_deletes=True, repositories="platform/*"),
            by="operator:ada",
        )
        addresses = ToSend("mail", "ops@example.net duty@example.net", conditions="bad")
        ops, _none = receivers.add("ops", addresses, by="command line")
    quiet, _secret = receivers.add("quiet", ToSend("webhook", url), by="operator:ada")
    receivers.set_active(quiet, is_active=False, by="operator:ada")
    some = [messages.started(one, host="a:8443", since=NOW, key=one.code) for one in FINDINGS[:2]]
    some.append(messages.test("operator:ada"))
    for queued in (chat, ops):
        deliveries.queue(queued, some)
    for number, row in enumerate(Delivery.objects.order_by("id")):
        row.made_at = NOW - timedelta(minutes=number)
        row.next_at = row.until = NOW + timedelta(hours=1)
        row.state = ("sent", "failed", "waiting")[number % 3]
        said = ("", "HTTP status 503", "connection refused")[number % 3]
        row.attempts = [
            {
                "at": row.made_at.isoformat(timespec="seconds"),
                "status": (200, 503, 0)[number % 3],
                "ms": 41,
                "answer": "" if said.startswith("c") else "what the receiver says",
                "error": said,
            }
        ]
        row.save()
    Receiver.objects.update(made_at=NOW - timedelta(days=9), omitted=12)
    return {"chat": chat.pk, "ops": ops.pk, "quiet": quiet.pk}


def _mirrors() -> dict[str, Any]:
    """One that works, one whose upstream is away, a disabled one, and one that nobody has used."""
    settings.SECRETS_DIR.mkdir(exist_ok=True)
    settings.MIRROR_KEY_FILE.write_text("of the pictures")
    hub = mirrors.add(
        "hub",
        Upstream(
            "docker.io", user="acme", password="sesame", deny="acme/secret-*", keep_days=90,
            keep_bytes=5 * 10**11, open_port=5001, networks="10.0.0.0/8 192.168.7.0/24",
        ),
        by="operator:ada",
    )  # fmt: skip
    hub = mirrors.pin(hub, "library/debian:12*", by="operator:ada")
    quay = mirrors.add(
        "quay", Upstream("quay.io", proxy="http://proxy.example.net:3128"), by="operator:mo"
    )
    off = mirrors.add("k8s", Upstream("registry.k8s.io"), by="command line")
    mirrors.set_active(off, is_active=False, by="operator:ada")
    unused = mirrors.add("other", Upstream("registry.example.org:8443"), by="operator:ada")
    Mirror.objects.update(made_at=NOW - timedelta(days=40), changed_at=NOW - timedelta(days=3))
    pushed.image("hub/library/nginx", tags=["1.27", "latest"], layers=[("debian", 28_000_000)])
    Manifest.objects.filter(repository__name="hub/library/nginx").update(pull_count=411)
    Repository.objects.filter(name="hub/library/nginx").update(pull_count=411)
    sizes.measure(by="schedule")
    _say(
        "hub", contact=NOW - timedelta(minutes=4), hits=1840, misses=27, stale=12,
        upstream_requests=113, upstream_bytes=1_912_000_000,
        limit={"limit": 200, "remaining": 14, "window": 21600}, refused=1,
        last_refusal={
            "at": (NOW - timedelta(days=2)).isoformat(), "what": f"acme/web@{digest_of('x')}",
            "words": "the upstream sent a blob that does not have its digest",
        },
    )  # fmt: skip
    _say(
        "quay", contact=NOW - timedelta(hours=3), away_since=NOW - timedelta(hours=3),
        error="it does not answer in time", hits=212, misses=9, upstream_bytes=88_000_000,
    )  # fmt: skip
    return {"hub": hub.pk, "quay": quay.pk, "k8s": off.pk, "other": unused.pk}


def _backups() -> None:
    """One that ended, one before it that failed, and one that is in progress."""
    target = "/mnt/backups/boathouse"
    made = backups.Result(
        target=target, snapshot="4f1c0a7e", stage="done", repositories=12, tags=90, blobs=251,
        bytes=81_300_000_000, new_blobs=7, read_bytes=412_000_000, added_bytes=398_000_000,
        seconds=38.0,
    )  # fmt: skip
    full = backups.Result(target=target, stage="blobs", problem=f"{target} is full.", seconds=71.0)
    for days, state, result in (
        (2, Run.State.FAILED, full),
        (1, Run.State.DONE, made),
        (0, Run.State.RUNNING, replace(made, stage="blobs", snapshot="", seconds=4.0)),
    ):
        begun = NOW - timedelta(days=days, seconds=30)
        run = Run.objects.create(
            kind=Run.Kind.BACKUP, by="schedule", state=state, result=result.facts(),
            heartbeat_at=NOW,
        )  # fmt: skip
        ended = None if state == Run.State.RUNNING else begun + timedelta(seconds=result.seconds)
        Run.objects.filter(pk=run.pk).update(started_at=begun, finished_at=ended)


def _imports() -> dict[str, Any]:
    """A dry run, one that ended, one whose source went away, and one that is in progress."""
    about = {"url": "https://old.example.net", "user": "mover", "patterns": ["team/*"]}
    asked = {"kind": "registry", "source": "registry old.example.net", "about": about}
    states = ImportedTag.State

    def made(days: float, state: Run.State, **result: Any) -> Run:
        begun = NOW - timedelta(days=days)
        run = Run.objects.create(
            kind=Run.Kind.IMPORT, by="operator:ada", state=state, heartbeat_at=NOW,
            result=importing.Result(**{**asked, **result}).facts(),
            done=sum(result.get(one, 0) for one in states.values), total=result["found"],
        )  # fmt: skip
        ended = None if state == Run.State.RUNNING else begun + timedelta(minutes=3)
        Run.objects.filter(pk=run.pk).update(started_at=begun, finished_at=ended)
        return run

    def row(run: Run, state: str, name: str, note: str = "", **facts: Any) -> ImportedTag:
        repository, _colon, tag = name.partition(":")
        target = {"target": repository.lower(), "target_tag": tag, **facts}
        return ImportedTag(
            run=run, state=state, repository=repository, tag=tag, note=note, **target
        )

    dry = made(3, Run.State.DONE, dry_run=True, found=2, taken=2, bytes=612_000_000)
    whole = made(2, Run.State.FAILED, found=412, taken=396, there=12, skipped=3, failed=1,
                 bytes=81_300_000_000, stage="copy")  # fmt: skip
    failed = made(1, Run.State.FAILED, found=0,
                  problem="The registry does not accept the user and password.")  # fmt: skip
    running = made(0.01, Run.State.RUNNING, kind="v1", source="v1 store /srv/old", found=900,
                   taken=311, bytes=9_100_000_000, stage="copy", seconds_left=754.0)  # fmt: skip
    ImportedTag.objects.bulk_create(
        [
            row(dry, states.TAKEN, "team/api:1.4", size=306_000_000),
            row(dry, states.TAKEN, "team/web:2", size=306_000_000),
            row(whole, states.TAKEN, "Team/API:1.4", "Its name was changed.", size=306_000_000),
            row(whole, states.THERE, "team/web:2"),
            row(whole, states.SKIPPED, "team/web:latest", "Another image has this tag here: import "
                "it with “replace” to move the tag."),
            row(whole, states.SKIPPED, "old/<b>app:1", "It has Docker's schema 1, which cannot be "
                "imported: push it with a newer Docker.", target="", target_tag=""),
            row(whole, states.FAILED, "team/large:1", "connection closed by the other side"),
            row(running, states.TAKEN, "library/base:1", size=64_000_000),
        ]
    )  # fmt: skip
    half = uploads.begin("images-<b>.tar.gz", 4_800_000, "1", by="operator:ada")
    half.place.write_bytes(bytes(1_200_000))
    ready = uploads.begin("team-api-2.1.tar", 2_400_000, "1", by="operator:ada")
    ready.place.write_bytes(bytes(2_400_000))
    for number, one in enumerate((half, ready)):
        os.utime(one.place, (number, number))
    return {
        "import": whole.pk, "import_dry": dry.pk, "import_failed": failed.pk,
        "import_running": running.pk,
    }  # fmt: skip


def _say(name: str, **facts: Any) -> None:
    """What the mirror service says of a mirror."""
    path = settings.MIRRORS_DIR / name / "state.json"
    path.write_text(json.dumps(facts, default=lambda at: at.isoformat()))
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))  # the page's token is made of it


FINDINGS = [
    doctor.Finding("registry", "ok", "registry-ok", {"ms": 12, "version": "registry/2.0"}),
    doctor.Finding("proxy", "ok", "proxy-ok", {"ms": 3, "protocol": "TLSv1.3"}),
    doctor.Finding(
        "htpasswd",
        "bad",
        "htpasswd-unreadable",
        {"path": "/d/htpasswd", "user": "www-data", "blocked": "/d/<b>"},
    ),
    doctor.Finding("events", "ok", "events-none"),
    doctor.Finding("index", "warn", "index-never", {"every": 15}),
    doctor.Finding("store", "ok", "store-ok", {"ms": 1, "place": "/d/registry"}),
    doctor.Finding(
        "disk", "warn", "disk-low", {"free": 4_000_000_000, "total": 10**11, "path": "/d"}
    ),
    doctor.Finding(
        *("gc", "ok", "gc-ok"), {"at": NOW.isoformat(), "freed": 2 * 10**9, "waiting": 10**10}
    ),
]
