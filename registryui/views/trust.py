"""How a machine comes to trust this registry: the authority, and the commands for each client.

Open to everybody, because who needs it has no login yet; it shows nothing of the content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from registryui import tls
from registryui.mirrors.client_lines import CA_FILE

from .access import public
from .first_hour import note_trust_opened

FILE = CA_FILE  # what the download is called, and the commands after it

# Key of ?machine=, label, icon, the client that logs in there.
_MACHINES = (
    ("docker", "Docker", "container", "docker"),
    ("containerd", "containerd", "boxes", "nerdctl"),
    ("podman", "Podman", "package", "podman"),
    ("debian", "Debian, Ubuntu", "terminal", "docker"),
    ("rhel", "RHEL, Fedora", "square-terminal", "podman"),
    ("macos", "macOS", "laptop", "docker"),
    ("windows", "Windows", "monitor", "docker"),
    ("kubernetes", "Kubernetes", "ship-wheel", "docker"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """One choice of the picker."""

    key: str
    label: str
    icon: str
    client: str


@dataclass(frozen=True, slots=True)
class Step:
    """A numbered step: what to do, the lines to run, and what to know about them."""

    name: str  # fetch, compare, install, secret, try: the same on every machine
    title: str
    command: str
    note: str = ""


@public()
def trust(request: HttpRequest) -> HttpResponse:
    note_trust_opened()
    machines = [Machine(*row) for row in _MACHINES]
    wanted = request.GET.get("machine", "")
    machine = next((one for one in machines if one.key == wanted), machines[0])
    context: dict[str, Any] = {
        "machines": machines,
        "machine": machine,
        "file": FILE,
        "login": f"{machine.client} login {settings.REGISTRY_NAME}",
        "push": push_lines(machine.client),
        **_certificates(),
    }
    if context["authority"]:
        context["steps"] = steps(machine)
        context["hint"] = _hint(machine.key)
    return render(request, "trust/page.html", context)


@public()
def ca(request: HttpRequest) -> HttpResponseBase:
    """The authority's certificate. 404 if there is none of ours."""
    path = tls.ca_certificate()
    try:
        file = path.open("rb") if path else None
    except OSError:
        file = None
    if file is None:
        raise Http404
    note_trust_opened()
    response = FileResponse(
        file, as_attachment=True, filename=FILE, content_type="application/x-x509-ca-cert"
    )
    # Who fetches it compares its fingerprint: an old copy from a cache would only frighten.
    response["Cache-Control"] = "no-store"
    return response


def _certificates() -> dict[str, Any]:
    """authority and server (None if unreadable, or if the certificate is not ours), rows."""
    authority = server = None
    try:
        server = tls.read_certificate(tls.server_certificate())
        if path := tls.ca_certificate():
            authority = tls.read_certificate(path)
    except ValueError:
        server = None  # the doctor says why; a stranger need not know the paths
    pairs = authority.fingerprint.split(":") if authority else []
    return {
        "server": server,
        "authority": authority,
        "rows": [":".join(pairs[start : start + 8]) for start in range(0, len(pairs), 8)],
        "is_own": bool(settings.TLS_CERTIFICATE),
        "renew_days": tls.RENEW_DAYS,
    }


def steps(machine: Machine) -> list[Step]:
    """What to do on that machine, in order. The commands run unchanged."""
    install = _INSTALL[machine.key]()
    secret = [_secret()] if machine.key == "kubernetes" else []
    return [_fetch(machine.key), _compare(machine.key), install, *secret, _try(machine)]


def push_lines(client: str) -> str:
    """Lines that tag a local image and push it."""
    name = f"{settings.REGISTRY_NAME}/team/my-image:1.0"
    return f"{client} tag my-image {name}\n{client} push {name}"


def _fetch(key: str) -> Step:
    program = "curl.exe" if key == "windows" else "curl"
    titles = {
        "windows": _("Fetch the certificate, in PowerShell as administrator"),
        "kubernetes": _("On each node, fetch the certificate"),
    }
    return Step(
        "fetch",
        titles.get(key, _("Fetch the certificate")),
        f"{program} -fsSk {settings.PUBLIC_URL}/ca.crt -o {FILE}",
    )


def _compare(key: str) -> Step:
    command = f"openssl x509 -noout -fingerprint -sha256 -in {FILE}"
    if key == "windows":  # has no openssl; the same form is printed
        command = (
            f"$raw = (Get-PfxCertificate .\\{FILE}).RawData\n"
            "$sha = [Security.Cryptography.SHA256]::Create().ComputeHash($raw)\n"
            "[BitConverter]::ToString($sha) -replace '-', ':'"
        )
    return Step("compare", _("Compare the fingerprint before you trust it"), command)


def _try(machine: Machine) -> Step:
    if machine.key == "kubernetes":
        return Step(
            "try",
            _("Test the connection"),
            f"kubectl run hello --image={settings.REGISTRY_NAME}/team/my-image:1.0 "
            '--overrides=\'{"spec":{"imagePullSecrets":[{"name":"boathouse"}]}}\'',
            _("Use an image that is in the registry."),
        )
    return Step(
        "try",
        _("Test the connection"),
        f"{machine.client} login {settings.REGISTRY_NAME}",
        _("Enter the name and secret of a registry user, not of an operator."),
    )


def _secret() -> Step:
    """The pull secret of a cluster, without the secret on a command line."""
    return Step(
        "secret",
        _("Create a pull secret, once for each namespace"),
        f"docker login {settings.REGISTRY_NAME}\n"
        "kubectl create secret generic boathouse --type=kubernetes.io/dockerconfigjson "
        '--from-file=.dockerconfigjson="$HOME/.docker/config.json"',
        _("If Docker uses a credential store, config.json has no logins: log in with podman."),
    )


# -- installing, one for each machine ------------------------------------------------------------
def _docker() -> Step:
    folder = f"/etc/docker/certs.d/{settings.REGISTRY_NAME}"
    return _install(
        f"sudo mkdir -p {folder}\nsudo cp {FILE} {folder}/ca.crt",
        _("Docker reads the folder on every call. No restart needed."),
    )


def _podman() -> Step:
    folder = f"/etc/containers/certs.d/{settings.REGISTRY_NAME}"
    return _install(
        f"sudo mkdir -p {folder}\nsudo cp {FILE} {folder}/ca.crt",
        _("Buildah and Skopeo read the same folder. Rootless: ~/.config/containers/certs.d."),
    )


def _containerd() -> Step:
    return _install(
        _containerd_lines(),
        _("containerd reads the folder on every pull. No restart needed if it is configured."),
    )


def _containerd_lines() -> str:
    name, url = settings.REGISTRY_NAME, settings.PUBLIC_URL
    folder = f"/etc/containerd/certs.d/{name}"
    return (
        f"sudo mkdir -p {folder}\n"
        f"sudo cp {FILE} {folder}/ca.crt\n"
        f"sudo tee {folder}/hosts.toml <<'END'\n"
        f'server = "{url}"\n'
        f'[host."{url}"]\n'
        f'  ca = "{folder}/ca.crt"\n'
        "END"
    )


def _debian() -> Step:
    return _install(
        f"sudo cp {FILE} /usr/local/share/ca-certificates/{_file_name()}\n"
        "sudo update-ca-certificates",
        _("All programs then trust it. Docker reads it at its next start."),
    )


def _rhel() -> Step:
    return _install(
        f"sudo cp {FILE} /etc/pki/ca-trust/source/anchors/{_file_name()}\nsudo update-ca-trust",
        _("All programs then trust it, podman immediately."),
    )


def _macos() -> Step:
    return _install(
        "sudo security add-trusted-cert -d -r trustRoot "
        f"-k /Library/Keychains/System.keychain {FILE}",
        _("Then restart Docker Desktop: it reads the authorities of the keychain when it starts."),
    )


def _windows() -> Step:
    return _install(
        f"Import-Certificate -FilePath .\\{FILE} -CertStoreLocation Cert:\\LocalMachine\\Root",
        _("Then restart Docker Desktop: it reads the authorities of Windows when it starts."),
    )


def _kubernetes() -> Step:
    return Step(
        "install",
        _("On each node, install it for containerd"),
        _containerd_lines(),
        _("For k3s, use /etc/rancher/k3s/registries.yaml; for CRI-O, the folder of Podman."),
    )


def _install(command: str, note: str) -> Step:
    return Step("install", _("Install it"), command, note)


_INSTALL = {
    "docker": _docker,
    "containerd": _containerd,
    "podman": _podman,
    "debian": _debian,
    "rhel": _rhel,
    "macos": _macos,
    "windows": _windows,
    "kubernetes": _kubernetes,
}


def _file_name() -> str:
    """A name of its own beside the authorities of other registries."""
    return f"boathouse-{re.sub(r'[^A-Za-z0-9.]+', '-', settings.REGISTRY_NAME).strip('-')}.crt"


def _hint(key: str) -> str:
    """What to look at when it still does not work."""
    return _(_HINTS.get(key, _HINTS["other"]))


_HINTS = {
    "docker": gettext_noop(
        "Still “certificate signed by unknown authority”? The folder name must be the "
        "host name exactly as you type it, including the port if you type one."
    ),
    "podman": gettext_noop(
        "Still “certificate signed by unknown authority”? The folder name must be the "
        "host name exactly as you type it, including the port if you type one."
    ),
    "containerd": gettext_noop(
        "Still “certificate signed by unknown authority”? containerd 1 reads this "
        'folder only if config_path = "/etc/containerd/certs.d" is set in its '
        "config.toml, and ctr only with --hosts-dir /etc/containerd/certs.d."
    ),
    "kubernetes": gettext_noop(
        "Still “certificate signed by unknown authority”? containerd 1 reads this "
        'folder only if config_path = "/etc/containerd/certs.d" is set in its '
        "config.toml."
    ),
    "other": gettext_noop(
        "Still “certificate signed by unknown authority”? Programs that are already running keep "
        "the old list: restart them. Firefox and Java have their own lists."
    ),
}
