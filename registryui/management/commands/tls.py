"""`./boathouse manage tls`: the certificates, and their renewal by hand."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from registryui import tls
from registryui.management.command import BoathouseCommand, add_json
from registryui.setup import configuration


class Command(BoathouseCommand):
    help = (
        "Show the certificates in use. After --renew and --new-authority a running nginx presents "
        "the new one immediately."
    )

    def add_arguments(self, parser: Any) -> None:
        add_json(parser)
        act = parser.add_mutually_exclusive_group()
        act.add_argument("--renew", action="store_true", help="issue a new server certificate now")
        act.add_argument(
            "--new-authority",
            action="store_true",
            help="also create a new authority: every client must then trust the new one",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["renew"] or options["new_authority"]:
                _renew(new_authority=options["new_authority"])
            found = _certificates()
        except ValueError as error:
            raise CommandError(str(error)) from error
        facts = {name: _facts(one) for name, one in found.items()}
        self.say(facts, "\n\n".join(_text(name, one) for name, one in found.items()))


def _renew(*, new_authority: bool) -> None:
    if settings.TLS_CERTIFICATE:
        raise ValueError(
            f"The certificate {settings.TLS_CERTIFICATE} is your own: renew it with its issuer."
        )
    act = tls.replace_ca if new_authority else tls.renew
    act(settings.TLS_DIR, names=tls.wanted_names())
    if configuration.nginx_file().exists():
        configuration.reload()


def _certificates() -> dict[str, tls.Certificate]:
    """By use: "authority" (only if it is ours) and "server"."""
    authority = tls.ca_certificate()
    found = {"authority": tls.read_certificate(authority)} if authority else {}
    return {**found, "server": tls.read_certificate(tls.server_certificate())}


def _facts(certificate: tls.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "names": list(certificate.names),
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "days_left": certificate.days_left(),
        "key": certificate.key,
        "fingerprint": certificate.fingerprint,
        "is_ca": certificate.is_ca,
        "may_sign": list(certificate.may_sign),
    }


def _text(name: str, certificate: tls.Certificate) -> str:
    rows = [
        (name.capitalize(), certificate.subject),
        ("Issued by", certificate.issuer),
        ("Names", ", ".join(certificate.names)),
        ("May sign", _may_sign(certificate)),
        ("Until", f"{certificate.not_after:%Y-%m-%d} ({certificate.days_left()} days left)"),
        ("Key", certificate.key),
        ("SHA-256", certificate.fingerprint),
    ]
    return "\n".join(f"{label:<10} {value}" for label, value in rows if value)


def _may_sign(certificate: tls.Certificate) -> str:
    if not certificate.is_ca:
        return ""
    return ", ".join(certificate.may_sign) or "any name; --new-authority creates a limited one"
