"""A command of `./boathouse` in this process: its words, its JSON, its refusals."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management import CommandError, call_command


@dataclass(frozen=True, slots=True)
class Command:
    """The command of that name, with the words behind it."""

    name: str

    def said(self, *words: str) -> str:
        """What it prints."""
        out = io.StringIO()
        call_command(self.name, *words, stdout=out, stderr=io.StringIO())
        return out.getvalue()

    def facts(self, *words: str) -> Any:
        """What it prints for programs."""
        return json.loads(self.said(*words, "--json"))

    def refused(self, *words: str) -> tuple[int, str]:
        """Exit code and the sentence, which the JSON has as well."""
        out = io.StringIO()
        with pytest.raises(CommandError) as end:
            call_command(self.name, *words, stdout=out)
        if "--json" in words:
            assert json.loads(out.getvalue()) == {"error": str(end.value)}
        return end.value.returncode, str(end.value)
