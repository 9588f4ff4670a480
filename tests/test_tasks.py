"""What the worker does by itself."""

import pytest

from registryui import doctor, tasks
from registryui.doctor import Finding
from registryui.models import Run

from .factories import make_operator

pytestmark = pytest.mark.django_db


def test_no_round_is_made_before_up_has_made_the_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("htpasswd", "ok", "htpasswd-ok")])
    tasks.examine.call_local(patience=1)
    assert not Run.objects.exists()
    make_operator()
    tasks.examine.call_local()
    assert [one.name for one in doctor.current(doctor.latest())][:1] == ["htpasswd"]
