"""What `up` and `status` print: the same facts as lines for people and as JSON for programs."""

import os
from dataclasses import asdict
from typing import Any

from registryui import space, tls

from .first import Account
from .health import Part, Running


def facts(
    instance: Running, parts: dict[str, Part], operator: Account, user: Account
) -> dict[str, Any]:
    """{url, registry, ca, operator, user, parts, warnings}; password and secret only if they were
    just created."""
    ca = tls.ca_certificate()
    return {
        "url": instance.url,
        "registry": instance.registry_name,
        "ca": str(ca) if ca else "",
        "fingerprint": tls.read_certificate(ca).fingerprint if ca else "",
        "operator": _account(operator, "password"),
        "user": _account(user, "secret"),
        "parts": {name: asdict(part) for name, part in parts.items()},
        "warnings": [one for one in (space.warning(), _of_database(parts), _of_root()) if one],
    }


def _of_root() -> str:
    if os.geteuid() != 0:
        return ""
    return (
        "All processes run as root: whoever controls one of them controls this machine. Run "
        "./boathouse down, then ./boathouse up, which says why the user boathouse cannot be used."
    )


def _of_database(parts: dict[str, Part]) -> str:
    found = parts.get("database")
    return found.note if found and found.health != "ok" else ""


def _account(account: Account, word: str) -> dict[str, str]:
    return {"name": account.name} | ({word: account.secret} if account.secret else {})


def block(known: dict[str, Any], *, title: str) -> str:
    """The lines that `up` prints once all is healthy."""
    head = ["", title, *_warnings(known), "", *_addresses(known)]
    return "\n".join([*head, "", *_trust(known), "", *_push(known), "", *_end()])


def _warnings(known: dict[str, Any]) -> list[str]:
    return [f"Warning: {one}" for one in known["warnings"]]


def _addresses(known: dict[str, Any]) -> list[str]:
    operator, user = known["operator"], known["user"]
    lines = [f"  The portal        {known['url']}"]
    lines.append(f"  Operator          {operator['name']}")
    if "password" in operator:
        lines[-1] += f"   password {operator['password']}   (shown this once; change it there)"
    if user["name"]:
        lines.append(f"  Registry user     {user['name']}")
    if "secret" in user:
        lines[-1] += f"   secret {user['secret']}   (shown this once)"
    return lines


def _trust(known: dict[str, Any]) -> list[str]:
    if not known["ca"]:
        return ["  The certificate is your own: clients that trust its CA have nothing to do."]
    folder = f"/etc/docker/certs.d/{known['registry']}"
    return [
        "  Let a Docker machine trust this registry (other clients: " + known["url"] + "/trust):",
        f"    sudo mkdir -p {folder}",
        f"    sudo curl -fsSk {known['url']}/ca.crt -o {folder}/ca.crt",
        f"    openssl x509 -noout -fingerprint -sha256 -in {folder}/ca.crt",
        "  The last line must show this fingerprint; otherwise the connection is intercepted:",
        f"    {known['fingerprint']}",
    ]


def _push(known: dict[str, Any]) -> list[str]:
    registry = known["registry"]
    login = f" --username {known['user']['name']}" if known["user"]["name"] else ""
    lines = [
        "  Push an image:",
        f"    docker login{login} {registry}",
        f"    docker tag ubuntu {registry}/hello-ubuntu",
        f"    docker push {registry}/hello-ubuntu",
    ]
    if registry.partition(":")[0] == "localhost":
        lines.append(
            "  For other machines, start it with a name they know: "
            "BOATHOUSE_HOST=registry.example.com ./boathouse up"
        )
    return lines


def _end() -> list[str]:
    return ["  ./boathouse status shows the parts, ./boathouse down (or Ctrl-C) ends them.", ""]
