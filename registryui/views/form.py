"""What the forms of a page send, by Django's fields; what is wrong with it is one Refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from registryui import formats
from registryui.refused import Refused

MOST = 5  # mistakes that are told at once
LONGEST = 255  # characters of what a filter looks for
_LONGEST = 12  # digits of a number
_LAST_DAY = date(9000, 12, 31)  # far enough, and every time zone can show it


@sensitive_variables()
def read(post: QueryDict, /, **fields: forms.Field) -> dict[str, Any]:
    """What was sent in these fields, as they clean it. Raises Refused with all that is wrong."""
    form = _form(post, fields)
    if not form.is_valid():
        wrong = dict.fromkeys(str(one) for some in form.errors.values() for one in some)
        raise Refused(" ".join(list(wrong)[:MOST]))
    return form.cleaned_data


def read_or_default(sent: QueryDict, /, **fields: forms.Field) -> dict[str, Any]:
    """What was sent in these fields, for filters and addresses: nothing is refused, a field's
    `initial` stands for nothing and for what is wrong."""
    form = _form(sent, fields)
    form.full_clean()
    found = form.cleaned_data
    return {
        name: field.initial if found.get(name) is None else found[name]
        for name, field in fields.items()
    }


def _form(sent: QueryDict, fields: Mapping[str, forms.Field]) -> forms.Form:
    form = forms.Form(sent)
    form.fields.update(fields)
    return form


def text(*, strip: bool = True) -> forms.CharField:
    """Any text, "" if nothing was sent: the service checks it."""
    return forms.CharField(required=False, strip=strip)


class Words(forms.CharField):
    """Any text, never wrong: without NUL, which PostgreSQL does not keep, and cut at `max_length`
    (else at LONGEST)."""

    def clean(self, value: str | None) -> str:
        return (value or "").replace("\0", "").strip()[: self.max_length or LONGEST]


class Number(forms.CharField):
    """Digits, or nothing: None."""

    def clean(self, value: str | None) -> int | None:
        typed = (value or "").strip()
        if typed and not (typed.isascii() and typed.isdigit() and len(typed) <= _LONGEST):
            raise forms.ValidationError(
                _("“%(text)s” is not a number.") % {"text": typed[:_LONGEST]}
            )
        return int(typed) if typed else None


class Size(forms.CharField):
    """Bytes, such as 500 GB, or nothing: None."""

    def clean(self, value: str | None) -> int | None:
        typed = (value or "").strip()
        found = formats.bytes_in(typed) if typed else None
        if typed and found is None:
            raise forms.ValidationError(
                _("“%(text)s” is not a size: enter 500 GB or 2 TB.") % {"text": typed[:20]}
            )
        return found


def choice(
    values: Iterable[object], sentence: str, coerce: Callable[[str], Any] = str
) -> forms.TypedChoiceField:
    """One of these; `sentence` for anything else, and for nothing."""
    return forms.TypedChoiceField(
        choices=[(one, one) for one in values],
        coerce=coerce,
        error_messages={"required": sentence, "invalid_choice": sentence},
    )


def one_of(values: Iterable[object], initial: str = "") -> forms.ChoiceField:
    """One of these, for `read_or_default`: `initial` for anything else."""
    return forms.ChoiceField(choices=[(one, one) for one in values], initial=initial)


def both_ways(**columns: str) -> dict[str, str]:
    """What a list can be sorted by: each key for its column, and both with a - for descending."""
    return {f"{sign}{key}": f"{sign}{name}" for key, name in columns.items() for sign in ("", "-")}


def day(sentence: str = "", *, first: date = date.min) -> forms.DateField:
    """A day as browsers send it, not before `first`; `sentence` for anything else."""
    return forms.DateField(
        input_formats=["%Y-%m-%d"],
        validators=[MinValueValidator(first, sentence), MaxValueValidator(_LAST_DAY, sentence)],
        error_messages={"required": sentence, "invalid": sentence},
    )
