"""One mail to the addresses of a receiver, by the mail server of BOATHOUSE_SMTP_HOST."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Sequence

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend
from django.utils import translation
from django.views.decorators.debug import sensitive_variables

from registryui.models import Receiver
from registryui.oci.untrusted import quoted

from . import messages
from .webhook import Attempt

SECONDS = 10  # for each answer of the server


@sensitive_variables("server")
def send(receiver: Receiver, bodies: Sequence[str]) -> Attempt:
    """Sends these messages together. Never raises. `status` is 0: an answer of SMTP is an error."""
    began = time.monotonic()
    error = ""
    with translation.override(receiver.language):
        subject, text = messages.mail(bodies)
    server = EmailBackend(
        host=settings.SMTP_HOST,
        port=settings.SMTP_PORT,
        username=settings.SMTP_USER,
        password=settings.SMTP_PASSWORD,
        use_tls=settings.SMTP_TLS == "starttls",
        use_ssl=settings.SMTP_TLS == "tls",
        timeout=SECONDS,
    )
    mail = EmailMessage(
        subject,
        text,
        settings.MAIL_FROM,
        receiver.address.split(),
        connection=server,
        headers={"Auto-Submitted": "auto-generated"},  # RFC 3834: nobody's absence replies
    )
    if not settings.SMTP_HOST:
        return Attempt(0, 0, error="BOATHOUSE_SMTP_HOST is not set")
    try:
        mail.send()
    except (OSError, smtplib.SMTPException, ValueError) as problem:
        error = _words(problem)
    return Attempt(0, round((time.monotonic() - began) * 1000), error=error)


def _words(error: Exception) -> str:
    """A few words: what the server answered, or what kept it from answering."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"the mail server does not accept the user and password ({error.smtp_code})"
        case smtplib.SMTPResponseException(smtp_code=code, smtp_error=said):
            return f"the mail server answers {code} {quoted(said)[2:-1]}"
        case smtplib.SMTPRecipientsRefused(recipients=refused):
            code, said = next(iter(refused.values()))
            return f"the mail server answers {code} {quoted(said)[2:-1]}"
    return quoted(getattr(error, "strerror", None) or str(error))[1:-1][:200]
