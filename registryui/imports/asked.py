"""An import of another registry that a page asked for: it is begun there, the worker does it.

What must not be in clear in the queue and the database goes from one to the other encrypted.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.views.decorators.debug import sensitive_variables

from registryui import encryption
from registryui.mirrors import mirrors
from registryui.models import Run

from . import run as importing
from .registry import Access, RegistrySource
from .run import Result
from .source import Options


def about(where: Access, options: Options) -> dict[str, Any]:
    """What the run keeps, to be done and to be begun again: no secret."""
    return {"url": where.url, "user": where.user, **asdict(options)}


@sensitive_variables()
def begin(where: Access, options: Options, *, by: str) -> tuple[Run, str]:
    """A running Run, and what `carry_out` needs besides. Refused."""
    secrets = encryption.encrypt(
        json.dumps({"password": where.password, "ca": where.ca}), mirrors.key()
    )
    name = f"registry {where.host}"
    return importing.begin("registry", name, options, by=by, about=about(where, options)), secrets


@sensitive_variables()
def carry_out(run: Run, secrets: str) -> None:
    """Does it; a refusal is its result."""
    told = Result.of(run).about
    options = Options(
        patterns=tuple(told["patterns"]),
        **{name: told[name] for name in ("namespace", "rate", "replace", "dry_run")},
    )
    found = json.loads(encryption.decrypt(secrets, mirrors.key()))
    with RegistrySource(Access(told["url"], told["user"], **found), options) as source:
        importing.carry_out(run, source, options)
