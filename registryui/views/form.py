"""What the forms of a page send, by Django's fields; what is wrong with it is one Refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from registryui.refused import Refused

MOST = 5  # mistakes that are told at once
_LONGEST = 12  # digits of a number


@sensitive_variables()
def read(post: QueryDict, /, **fields: forms.Field) -> dict[str, Any]:
    """What was sent in these fields, as they clean it. Raises Refused with all that is wrong."""
    form = forms.Form(post)
    form.fields.update(fields)
    if not form.is_valid():
        wrong = dict.fromkeys(str(one) for some in form.errors.values() for one in some)
        raise Refused(" ".join(list(wrong)[:MOST]))
    return form.cleaned_data


def text(*, strip: bool = True) -> forms.CharField:
    """Any text, "" if nothing was sent: the service checks it."""
    return forms.CharField(required=False, strip=strip)


class Number(forms.CharField):
    """Digits, or nothing: None."""

    def clean(self, value: str | None) -> int | None:
        typed = (value or "").strip()
        if typed and not (typed.isascii() and typed.isdigit() and len(typed) <= _LONGEST):
            raise forms.ValidationError(
                _("“%(text)s” is not a number.") % {"text": typed[:_LONGEST]}
            )
        return int(typed) if typed else None


def choice(
    values: Iterable[object], sentence: str, coerce: Callable[[str], Any] = str
) -> forms.TypedChoiceField:
    """One of these; `sentence` for anything else, and for nothing."""
    return forms.TypedChoiceField(
        choices=[(one, one) for one in values],
        coerce=coerce,
        error_messages={"required": sentence, "invalid_choice": sentence},
    )
