"""Lines to copy: how each client pulls through a mirror. Pure, but for the registry's name."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.utils.translation import gettext as _

from registryui.client_steps import Client, Step
from registryui.models import Mirror

from . import presets

CA_FILE = "boathouse-ca.crt"  # what the page of trust calls it


@dataclass(frozen=True, slots=True)
class _Names:
    host: str  # of this registry
    mirror: str
    upstream: str  # the host in an image's name there: "docker.io"
    image: str  # an example of it, with its tag
    open: str  # address of the open port; "": none

    @property
    def here(self) -> str:
        return f"{self.host}/{self.mirror}"

    @property
    def there(self) -> str:
        return f"{self.upstream}/{self.image}"


def clients(row: Mirror) -> list[Client]:
    """The lines for each client."""
    found = presets.of_url(row.url)
    names = _Names(
        settings.REGISTRY_NAME,
        row.name,
        presets.host_of(row.url),
        found.example if found else "team/api:1.0",
        f"{settings.PUBLIC_HOST}:{row.open_port}" if row.open_port else "",
    )
    is_hub = row.url == presets.DOCKER_HUB
    return [
        Client("docker", "Docker", _docker(names, is_hub=is_hub)),
        Client("containerd", "containerd", _containerd(names)),
        Client("podman", "podman", _podman(names)),
        Client("k3s", "k3s", _k3s(names)),
        Client("kubernetes", "Kubernetes", _kubernetes(names)),
        Client("buildkit", "BuildKit", _buildkit(names)),
    ]


def _docker(names: _Names, *, is_hub: bool) -> list[Step]:
    steps = [
        Step("login", _("Once per machine:"), f"docker login {names.host}"),
        Step("pull", _("Pull by the mirror's name:"), f"docker pull {names.here}/{names.image}"),
    ]
    if not is_hub:
        return steps
    if not names.open:
        words = _(
            "To mirror docker.io without changing image names, Docker's registry-mirrors needs a "
            "port without a login: set an open port on this mirror. Then, in "
            "/etc/docker/daemon.json:"
        )
        return [*steps, Step("daemon", words, _daemon(f"{settings.PUBLIC_HOST}:PORT"))]
    words = _(
        "For docker.io without changing image names, in /etc/docker/daemon.json; then restart "
        "Docker:"
    )
    return [*steps, *_trust(names), Step("daemon", words, _daemon(names.open))]


def _trust(names: _Names) -> list[Step]:
    """Docker looks for an authority by host and port."""
    folder = f"/etc/docker/certs.d/{names.open}"
    text = f"sudo mkdir -p {folder}\nsudo cp {CA_FILE} {folder}/ca.crt"
    return (
        [Step("trust", _("Trust the registry on the open port, too:"), text)] if _has_ca() else []
    )


def _daemon(address: str) -> str:
    return f'{{\n  "registry-mirrors": ["https://{address}"]\n}}'


def _containerd(names: _Names) -> list[Step]:
    return [
        Step(
            "hosts",
            _("In /etc/containerd/certs.d/%(host)s/hosts.toml:") % {"host": names.upstream},
            _hosts(names),
        ),
        Step(
            "login",
            _(
                "containerd reads no docker login. Write USER:SECRET of a registry user in base64 "
                "into the header; only root may read the file:"
            ),
            "printf %s USER:SECRET | base64 -w0",
        ),
        Step("pull", _("Images keep their names:"), f"nerdctl pull {names.there}"),
    ]


def _hosts(names: _Names) -> str:
    """containerd, docs/hosts.md. The mirror is the server as well, which is asked last: nobody
    pulls from the upstream without it. containerd 1.6 ignores a file without a host."""
    place = f"https://{names.host}/v2/{names.mirror}"
    ca = f'ca = "/etc/containerd/certs.d/{names.host}/ca.crt"\n' if _has_ca() else ""
    authorization = 'authorization = "Basic BASE64"'
    return (
        f'server = "{place}"\n{ca}override_path = true\n'
        f"[header]\n  {authorization}\n\n"
        f'[host."{place}"]\n  capabilities = ["pull", "resolve"]\n'
        f"{'  ' if ca else ''}{ca}  override_path = true\n"
        f'  [host."{place}".header]\n    {authorization}'
    )


def _has_ca() -> bool:
    """Whether clients have to trust an authority of ours: the page of trust installs it."""
    return not settings.TLS_CERTIFICATE


def _podman(names: _Names) -> list[Step]:
    return [
        Step("login", _("Once per machine:"), f"podman login {names.host}"),
        Step(
            "registries",
            _("In /etc/containers/registries.conf.d/%(name)s.conf, also for buildah and skopeo:")
            % {"name": names.mirror},
            "[[registry]]\n"
            f'prefix = "{names.upstream}"\n'
            f'location = "{names.upstream}"\n\n'
            "[[registry.mirror]]\n"
            f'location = "{names.here}"',
        ),
        Step("pull", _("Images keep their names:"), f"podman pull {names.there}"),
    ]


def _k3s(names: _Names) -> list[Step]:
    return [
        Step(
            "registries",
            _("In /etc/rancher/k3s/registries.yaml on each node; then restart k3s:"),
            "mirrors:\n"
            f'  "{names.upstream}":\n'
            "    endpoint:\n"
            f'      - "https://{names.host}"\n'
            "    rewrite:\n"
            f'      "^(.*)$": "{names.mirror}/$1"\n'
            "configs:\n"
            f'  "{names.host}":\n'
            "    auth:\n"
            "      username: USER\n"
            "      password: SECRET"
            + (f"\n    tls:\n      ca_file: /etc/rancher/k3s/{CA_FILE}" if _has_ca() else ""),
        )
    ]


def _kubernetes(names: _Names) -> list[Step]:
    return [
        Step(
            "config",
            _("Nodes with containerd (kubeadm): once in /etc/containerd/config.toml, version 2:"),
            '[plugins."io.containerd.grpc.v1.cri".registry]\n'
            '  config_path = "/etc/containerd/certs.d"',
        ),
        Step(
            "hosts",
            _("In /etc/containerd/certs.d/%(host)s/hosts.toml:") % {"host": names.upstream},
            _hosts(names),
        ),
        Step(
            "pod",
            _("Or by the mirror's name in a pod, with a secret of a registry user:"),
            f"image: {names.here}/{names.image}",
        ),
    ]


def _buildkit(names: _Names) -> list[Step]:
    return [
        Step(
            "toml",
            _("In buildkitd.toml; BuildKit uses the login of docker login:"),
            f'[registry."{names.upstream}"]\n  mirrors = ["{names.here}"]'
            + (f'\n[registry."{names.host}"]\n  ca = ["/etc/ssl/{CA_FILE}"]' if _has_ca() else ""),
        ),
        Step(
            "builder",
            _("A builder with that file:"),
            "docker buildx create --use --driver docker-container \\\n"
            "  --buildkitd-config buildkitd.toml",
        ),
    ]
