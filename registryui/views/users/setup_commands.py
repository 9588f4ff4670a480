"""Lines to paste on a client: how a registry user logs in, pushes and pulls, without the secret.

No line holds the secret: it is typed into `read`, or kept by the CI as a variable, so that it
is in no shell history. Names are quoted: a registry user may be called "$(reboot)".
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext as _

from registryui.accounts import rights
from registryui.client_steps import Client, Step
from registryui.models import RegistryUser, Right, Tag

IMAGE = "my-image"  # what the client's own image is called in the lines
TAG = "1.0"
SECRET = "BOATHOUSE_SECRET"  # noqa: S105  (the name of a variable)
SCOPES_READ = 20  # for an image that there is


@dataclass(frozen=True, slots=True)
class _Names:
    user: str
    push: str  # the reference to push; "": the user may push nothing
    pull: str  # the same for pulling

    @property
    def shell(self) -> str:
        return shlex.quote(self.user)


def clients(user: RegistryUser, may: rights.Rights) -> list[Client]:
    """The lines for each client, only those the user may use. One query."""
    names = _names(user, may)
    return [
        Client("shell", _("Shell"), _docker(names)),
        Client("podman", "podman", _podman(names)),
        Client("containerd", "containerd", _containerd(names)),
        *([Client("kubernetes", "Kubernetes", _kubernetes(names))] if names.pull else []),
        Client("github", "GitHub Actions", _github(names)),
        Client("gitlab", "GitLab CI", _gitlab(names)),
    ]


def _names(user: RegistryUser, may: rights.Rights) -> _Names:
    host = settings.REGISTRY_NAME
    push = _example(rights.scopes(may, Right.Action.PUSH))
    pull = _there(rights.scopes(may, Right.Action.PULL)) if not push else ""
    if not pull and push and rights.may(may, Right.Action.PULL, push):
        pull = f"{push}:{TAG}"
    if not pull and (other := _example(rights.scopes(may, Right.Action.PULL))):
        pull = f"{other}:{TAG}"
    return _Names(user.name, f"{host}/{push}:{TAG}" if push else "", pull and f"{host}/{pull}")


def _example(scopes: Sequence[str]) -> str:
    """A repository within the first scope; "" if there is none."""
    if not scopes:
        return ""
    first = scopes[0]
    if first == rights.EVERYWHERE:
        return f"team/{IMAGE}"
    return f"{first[:-1]}{IMAGE}" if first.endswith("/*") else first


def _there(scopes: Sequence[str]) -> str:
    """A tag within the scopes that is in the index: repository:tag, the newest; else ""."""
    if not scopes:
        return ""
    within = Q()
    for scope in scopes[:SCOPES_READ]:
        if scope.endswith("/*"):
            within |= Q(repository__name__startswith=scope[:-1])
        elif scope != rights.EVERYWHERE:
            within |= Q(repository__name=scope)
    found = Tag.objects.filter(within, refers_to="", manifest__isnull=False)
    row = found.order_by("-tagged_at", "-id").values_list("repository__name", "name").first()
    return f"{row[0]}:{row[1]}" if row else ""


# -- shells --------------------------------------------------------------------------------------
def _login(client: str, names: _Names) -> Step:
    # One command for the shell: of several, `read` would take the next one for the secret.
    return Step(
        "login",
        _(
            "Log in. After this command paste the secret and press Enter: it is neither "
            "shown nor stored in the shell history."
        ),
        f'read -rs SECRET && printf %s "$SECRET" |\\\n  {client} login {settings.REGISTRY_NAME} '
        f"--username {names.shell} --password-stdin; unset SECRET",
    )


def _moves(client: str, names: _Names) -> list[Step]:
    steps = []
    if names.push:
        lines = f"{client} tag {IMAGE} {names.push}\n{client} push {names.push}"
        steps.append(Step("push", _("Push a local image, here my-image:"), lines))
    if names.pull:
        steps.append(Step("pull", _("Pull:"), f"{client} pull {names.pull}"))
    return steps


def _docker(names: _Names) -> list[Step]:
    return [_login("docker", names), *_moves("docker", names)]


def _podman(names: _Names) -> list[Step]:
    return [_login("podman", names), *_moves("podman", names)]


def _containerd(names: _Names) -> list[Step]:
    steps = [_login("nerdctl", names), *_moves("nerdctl", names)]
    if names.pull:
        steps.append(
            Step(
                "ctr",
                _("With ctr only; it asks for the secret:"),
                "sudo ctr images pull --hosts-dir /etc/containerd/certs.d \\\n"
                f"  --user {names.shell} {names.pull}",
            )
        )
    return steps


# -- clusters and pipelines ----------------------------------------------------------------------
def _kubernetes(names: _Names) -> list[Step]:
    return [
        Step(
            "secret",
            _(
                "Once for each namespace. After this command paste the secret and press Enter; "
                "while the command runs, the secret is visible in the process list of this machine."
            ),
            "read -rs SECRET && kubectl create secret docker-registry boathouse \\\n"
            f"  --docker-server={settings.REGISTRY_NAME} --docker-username={names.shell} \\\n"
            '  --docker-password="$SECRET"; unset SECRET',
        ),
        Step(
            "file",
            _("A pod that uses it:"),
            "apiVersion: v1\n"
            "kind: Pod\n"
            "metadata:\n"
            "  name: hello\n"
            "spec:\n"
            "  imagePullSecrets:\n"
            "    - name: boathouse\n"
            "  containers:\n"
            "    - name: hello\n"
            f"      image: {names.pull}",
        ),
    ]


def _github(names: _Names) -> list[Step]:
    run = _runs(names)
    script = "\n- run: |\n" + "\n".join(f"    {line}" for line in run) if run else ""
    return [
        Step(
            "secret",
            _("Store the secret in the settings of the code repository; this command asks for it:"),
            f"gh secret set {SECRET}",
        ),
        Step(
            "file",
            _("Workflow steps:"),
            "- uses: docker/login-action@v3\n"
            "  with:\n"
            f"    registry: {settings.REGISTRY_NAME}\n"
            f"    username: {_yaml(names.user)}\n"
            f"    password: ${{{{ secrets.{SECRET} }}}}{script}",
        ),
    ]


def _gitlab(names: _Names) -> list[Step]:
    login = (
        f'printf %s "${SECRET}" | docker login {settings.REGISTRY_NAME} '
        f"--username {names.shell} --password-stdin"
    )
    script = "\n".join(f"      {line}" for line in [login, *_runs(names)])
    return [
        Step(
            "secret",
            _("Store the secret under Settings → CI/CD → Variables, masked and protected, as:"),
            SECRET,
        ),
        Step(
            "file",
            _("A job of .gitlab-ci.yml, on a runner with Docker:"),
            f"image:\n  script:\n    - |\n{script}",
        ),
    ]


def _runs(names: _Names) -> list[str]:
    if names.push:
        return [f"docker build --tag {names.push} .", f"docker push {names.push}"]
    return [f"docker pull {names.pull}"] if names.pull else []


def _yaml(text: str) -> str:
    """The text as a YAML string: JSON's quotes are YAML's too."""
    return json.dumps(text, ensure_ascii=False)
