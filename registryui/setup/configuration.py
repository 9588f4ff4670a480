"""The files that nginx and the registry read, made from deploy/*.template.

A configuration is written beside the one in use, read by `nginx -t`, and only then renamed into
place: what nginx finds at its next start or reload has always been tested.
"""

import ipaddress
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template

from csp.utils import build_policy
from django.conf import settings

from portal.variables import find_program
from registryui import files, sockets, tls, write_freeze
from registryui.accounts import publish, rights
from registryui.deletion import guard, guard_files
from registryui.quotas import marks
from registryui.refused import Refused
from registryui.registry import storages

from . import keys, ports
from .data import NGINX_USER, closed_folder

TEMPLATES = settings.BASE_DIR / "deploy"
BLOB_PATIENCE = 900  # seconds between two pieces of an answer: the registry may work on a big blob
TAG_PATIENCE = 75  # for the mirror service, which answers within 60 unless it hangs
SEARCH_PATIENCE = 20  # shorter for a portal that hangs


class _Percent(Template):
    delimiter = "%"  # nginx has its own $variables


def nginx_program() -> str:
    """The path of nginx; Refused if it is not installed."""
    return _program("nginx")


def registry_program() -> str:
    """The path of the registry; Refused if it is not installed."""
    return settings.REGISTRY_PROGRAM or _program("docker-registry")


def _program(name: str) -> str:
    found = find_program(name)
    if not found:
        raise Refused(f"{name} is not installed: run ./boathouse up, or apt-get install {name}.")
    return found


def nginx_file() -> Path:
    """Where nginx's configuration in use lies."""
    return Path(settings.CONFIG_DIR / "nginx.conf")


def registry_file() -> Path:
    """Where the registry's configuration in use lies."""
    return Path(settings.CONFIG_DIR / "registry.yml")


def passwords_socket() -> Path:
    """Where the process that checks slow passwords listens; only we and nginx can access the
    folder."""
    return Path(settings.RUN_DIR / "passwords" / "socket")


def write(*, registry_port: int, hook_port: int) -> None:
    """Renders the configurations and puts them in place if nginx accepts its own.

    Raises Refused with nginx's words if it does not; then nothing is changed.
    """
    files.write(
        settings.CONFIG_DIR / "pages" / "down.html",
        (TEMPLATES / "down.html").read_bytes(),
        mode=0o644,
    )
    _make_passwords_folder()
    files.write(mirror_ports_file(), "")  # mirror_ports.py opens them, as far as it can
    put_nginx(render_nginx(registry_port=registry_port, hook_port=hook_port))
    text = render_registry(registry_port=registry_port, hook_port=hook_port)
    files.write(registry_file(), text)
    files.write(mirror_file(), render_mirror(registry_port=registry_port))


def _make_passwords_folder() -> None:
    folder = passwords_socket().parent
    folder.mkdir(mode=0o700, exist_ok=True)
    publish.let_nginx_pass(folder)


def render_nginx(*, registry_port: int, hook_port: int) -> str:
    """The text of nginx.conf for the settings of this instance."""
    values: dict[str, object] = {
        "user": _user_line(),
        **_limits(),
        "run": settings.RUN_DIR,
        "log": settings.LOG_DIR,
        "logged": _LOGGED,
        "claimed": _claimed(),
        "freeze": write_freeze.folder(),
        "guard": guard_files.folder(),
        "quota": marks.folder(),
        **{
            f"to_{name}": sockets.registry_address(name, registry_port)
            for name in sockets.REGISTRIES
        },
        "sources": _sources(registry_port),
        "pages": settings.CONFIG_DIR / "pages",
        "htpasswd": settings.HTPASSWD_FILE,
        "passwords_socket": passwords_socket(),
        "logins": publish.logins_folder(),
        "certificate": tls.server_certificate(),
        "key": tls.server_key(),
        "hook_port": hook_port,
        "web_socket": sockets.web(),
        "mirror_socket": sockets.mirror(),
        "mirrors": settings.MIRRORS_DIR,
        "mirror_ports": mirror_ports_file(),
        "proxy_token": keys.read("proxy-token"),
        "public_url": settings.PUBLIC_URL,
        "registry_name": settings.REGISTRY_NAME,
        "requests": settings.REQUESTS_PER_SECOND,
        "burst": 10 * settings.REQUESTS_PER_SECOND,
        "address_connections": settings.CONNECTIONS_PER_ADDRESS,
        "listen": _listen(settings.PORT, "ssl"),
        **_anonymous(),
        **_proxies(),
        "static": settings.STATIC_ROOT,
        "static_headers": _headers(*_static_headers()),
        "portal_headers": _headers(),
        "headers": _headers(_NO_PAGE),
        "plain": _plain(),
        "redirect_server": _redirect_server(),
    }
    values |= _to_portal(values) | _checked(values) | _names_and_markers() | _to_mirror()
    return _render("nginx.conf.template", values)


# The beginning of each line of the access log.
_LOGGED = """\
        '{"time":"$time_iso8601","address":"$remote_addr","user":"$name",'
        '"method":"$method","uri":"$path","status":$status,"bytes":$body_bytes_sent,'
        '"received":$request_length,"seconds":$request_time,'
        '"upstream_seconds":"$upstream_response_time","agent":"$agent",'"""


def _claimed() -> str:
    """Names the user of a refused login, if it exists: people type passwords as names, too."""
    return _lines(
        f'if (-f "{publish.logins_folder()}/known/$subject") {{',
        "    set $claimed $remote_user;",
        "}",
        indent=12,
    )


def _sources(registry_port: int) -> str:
    """The source addresses of writes over TCP; on sockets each kind has its own."""
    sources = sockets.SOURCES if registry_port else {}
    return _lines(*(f"registry_{name} {one};" for name, one in sources.items()), indent=8)


def _to_portal(values: Mapping[str, object]) -> dict[str, object]:
    """The content of the locations that the portal answers."""

    def to_portal(most: str = "4m", unbuffered: str = "", **given: str) -> str:
        given = {"authorization": '""', "most": most, "unbuffered": unbuffered, **given}
        found = _render("portal-location.template", {**values, **given}).rstrip()
        return "\n".join(line for line in found.splitlines() if line.strip())

    page = {"told_user": '""', "target": "", "on_down": "/_down"}
    off = "            proxy_request_buffering off;"
    return {
        "to_portal": to_portal(**page),
        "to_portal_metrics": to_portal(**page, authorization="$bearer"),
        "to_portal_piece": to_portal("16m", **page),
        "to_portal_archive": to_portal("0", off, **page),
        "own_catalog": to_portal(
            told_user="$verified_user",
            target="/v2/_catalog$is_args$args",
            on_down="@unavailable",
        ),
    }


def _checked(values: Mapping[str, object]) -> dict[str, object]:
    """The content of every location behind the check of users and rights."""

    def checked(users_file: Path, on_401: str, patience: int = BLOB_PATIENCE, **others: str) -> str:
        given = {**values, "users_file": users_file, "on_401": on_401, "patience": patience}
        usual = {"largest": "0", "gather": "off", "intercept": "off"}
        usual |= {"on_404": "@unknown", "on_down": "=503 @unavailable"}
        return _render("checked-location.template", {**given, **usual, **others}).rstrip()

    return {
        "checked": checked(settings.HTPASSWD_FILE, "$second_look"),
        "checked_search": checked(settings.HTPASSWD_FILE, "$second_look", SEARCH_PATIENCE),
        "checked_again": checked(settings.OVERLAP_FILE, "@wrong"),
        # A manifest is buffered first: a slow client must not block the portal.
        "checked_guarded": checked(
            settings.HTPASSWD_FILE,
            "$second_look",
            guard.NGINX_PATIENCE,
            largest="4m",
            gather="on",
            on_down="=403 $rule",
        ),
        "checked_quota": checked(settings.HTPASSWD_FILE, "$second_look_at_quota"),
        "checked_tag": checked(
            settings.HTPASSWD_FILE, "$second_look", TAG_PATIENCE, on_down="= @without_mirror"
        ),
        "checked_digest": checked(
            settings.HTPASSWD_FILE, "$second_look", on_404="= $not_here", intercept="on"
        ),
        "pass": _lines(*_ready(), _GO, indent=16),
        "upload_pass": _lines(*_ready(), *_over_quota(), _GO, indent=16),
        "manifest_pass": _lines(*_ready(), *_quotas(), *_guards(), *_mirrored(), _GO, indent=16),
        "guarded_pass": _lines(*_ready(), *_guards(), *_mirrored(), _GO, indent=16),
    }


_GO = "proxy_pass http://$backend$target;"


def _ready() -> tuple[str, ...]:
    return (
        "set $backend $registry_pool;",
        'if ($action = "") {',
        "    return 405;",
        "}",
        f'if (-d "{settings.MIRRORS_DIR}/$changed_mirror") {{',
        "    set $with_old_secret mirror; rewrite ^ /_mirror_change last;",
        "}",
        # Tested for each write, so that a freeze needs no reload; nothing else returns 512.
        f'if (-f "{write_freeze.folder()}/$write") {{',
        "    return 512;",
        "}",
        f'if (-f "{write_freeze.folder()}/$fills") {{',
        "    return 507;",
        "}",
    )


def _guards() -> Iterator[str]:
    """Where protections may forbid a delete or a push, the portal decides (deletion/guard.py)."""
    for place in ("@all", *_above(), "$repository/@one"):
        yield f'if (-f "{guard_files.folder()}/$guard/{place}") {{'
        yield f'    set $rule "/_rule/$guard/{place}"; {_ASK_PORTAL}'
        yield "}"


_ASK_PORTAL = "set $backend portal; rewrite ^ /_guarded last;"


def _quotas() -> Iterator[str]:
    """Where a quota is used up, the portal decides about manifests (quotas/refusal.py)."""
    return _full(_ASK_PORTAL)


def _over_quota() -> Iterator[str]:
    """There nginx itself refuses uploads of blobs."""
    return _full("rewrite ^ /_over_quota last;")


def _full(act: str) -> Iterator[str]:
    # A quota is also that of the repository with the namespace's name.
    for place in (*_above(), "$repository/@one"):
        yield f'if (-f "{marks.folder()}/$quota/{place}") {{'
        yield f'    set $rule "/_quota/$quota/{place}"; {act}'
        yield "}"


def _above() -> list[str]:
    """The markers of the namespaces above a repository."""
    return [f"$above{depth}/@all" for depth in range(1, rights.MOST_PARTS + 1)]


def _mirrored() -> tuple[str, ...]:
    """Where a repository is in a mirror that is enabled."""
    return (
        f'if (-f "{settings.MIRRORS_DIR}/$mirror/active") {{',
        "    set $with_old_secret mirror; rewrite ^ $mirrored last;",
        "}",
    )


def _to_mirror() -> dict[str, object]:
    """Proxying without a check of the user, who was checked before or cannot log in."""

    def proxied(**given: str) -> str:
        values = {
            "registry_name": settings.REGISTRY_NAME,
            "patience": BLOB_PATIENCE,
            "headers": _headers(_NO_PAGE),
        }
        return _render("mirror-location.template", {**values, **given}).rstrip()

    return {
        "to_mirror": proxied(authorization='""', told_user="$verified_user"),
        "to_cached": proxied(authorization="$http_authorization", told_user='""'),
    }


def mirror_ports_file() -> Path:
    """The servers of mirrors that have a port for clients without a login."""
    return Path(settings.CONFIG_DIR / "mirror-ports.conf")


def render_mirror_port(name: str, port: int, networks: Sequence[str]) -> str:
    """The server for one of them."""
    values = {
        **_to_mirror(),
        "name": name,
        "repository": f"{_PART}(?:/{_PART})*",
        "listen": _listen(port, "ssl"),
        "networks": _lines(*(f"allow {one};" for one in networks), indent=8),
        "burst": 10 * settings.REQUESTS_PER_SECOND,
        "address_connections": settings.CONNECTIONS_PER_ADDRESS,
        "headers": _headers(_NO_PAGE),
        "plain": _plain(),
    }
    return _render("mirror-port.template", values)


_PART = "[a-z0-9]+(?:[._-]+[a-z0-9]+)*"  # of the name of a repository


def _names_and_markers() -> dict[str, object]:
    """Parses names of repositories; the paths of their markers (accounts/rights.py)."""
    mine = _markers("$subject/$action", "repository", "above")
    heads = _markers("$subject/$or_action", "repository", "above")
    # Authenticated users may also pull what anonymous users may.
    all_may = _markers("@anonymous/$action", "repository", "above")
    # The template has the first of `mine`: its line comes before the others.
    asked = [*mine[1:], *heads, *(all_may if settings.ANONYMOUS_PULL else [])]
    pulls = _markers("$subject/pull", "from", "from_above")
    namespaces = (*_namespaces("repository", "above"), *_namespaces("from", "from_above"))
    return {
        "rights": settings.RIGHTS_DIR,
        "repository": f"{_PART}(?:/{_PART})*",
        "namespaces": _lines(*namespaces, indent=4),
        "from": _lines(*map(_from_of_parts, range(1, rights.MOST_PARTS + 2)), indent=8),
        "may_mount": _lines(*(_if_there(one, "set $query $mount;") for one in pulls), indent=16),
        "markers": _lines(*(_if_there(one, "return 204;") for one in asked), indent=12),
    }


def _markers(whose: str, name: str, above: str) -> list[str]:
    """Where the markers are that allow the repository $name, whose namespaces are $above1 and so
    on, to a user and an action."""
    namespaces = [f"/{whose}/${above}{n}/@all" for n in range(1, rights.MOST_PARTS + 1)]
    return [f"/{whose}/@all", *namespaces, f"/{whose}/${name}/@one"]


def _if_there(marker: str, act: str) -> str:
    return f'if (-f "{settings.RIGHTS_DIR}{marker}") {{ {act} }}'


def _namespaces(name: str, above: str) -> Iterator[str]:
    """Sets $above1 to the first part of $name, $above2 to the first two: "@none" if it has not so
    many above it."""
    for n in range(1, rights.MOST_PARTS + 1):
        pattern = f"^(?<{above}_{n}>(?:[^/]+/){{{n - 1}}}[^/]+)/"
        yield f'map ${name} ${above}{n} {{ default "@none"; "~{pattern}" ${above}_{n}; }}'


def _from_of_parts(n: int) -> str:
    """The line for a name of n parts, whose "/" a client may have encoded."""
    pattern = "(?:/|%2[Ff])".join(f"(?<f{n}_{i}>{_PART})" for i in range(n))
    return f'"~^{pattern}$" {"/".join(f"$f{n}_{i}" for i in range(n))};'


def _lines(*lines: str, indent: int) -> str:
    return "\n".join(" " * indent + line for line in lines)


def render_registry(*, registry_port: int, hook_port: int) -> str:
    """The text of registry.yml; holds secrets. JSON strings are YAML strings."""
    storage = wanted_storage()
    values = {
        "driver": storage.driver,
        "driver_parameters": storage.section,
        "net": "tcp" if registry_port else "unix",
        "address": sockets.registry_address("registry", registry_port).removeprefix("unix:"),
        "http_secret": keys.read("registry-key"),
        "hook": f"http://127.0.0.1:{hook_port}/hooks/registry",
        "hook_authorization": f"Bearer {keys.read('hook-token')}",
        "debug": _debug(),
    }
    return _render(
        "registry.yml.template", {name: json.dumps(value) for name, value in values.items()}
    )


def _debug() -> dict[str, object]:
    """Where the registry serves its metrics; {}: nowhere."""
    address = sockets.registry_metrics("registry")
    return {"addr": address, "prometheus": {"enabled": True}} if address else {}


def mirror_file() -> Path:
    """Where the configuration of the mirror service lies."""
    return Path(settings.CONFIG_DIR / "mirror.json")


def render_mirror(*, registry_port: int) -> str:
    """The text of mirror.json (registryui/mirror_service/configuration.py); holds secrets."""
    storage = wanted_storage()
    is_here = storage.driver == storages.FILESYSTEM
    spool = Path(storage.root, "boathouse-mirror") if is_here else settings.RUN_DIR / "mirror"
    values = {
        "socket": str(sockets.mirror()),
        "registry": sockets.registry_address("registry", registry_port),
        "mirrors": str(settings.MIRRORS_DIR),
        "key": str(settings.MIRROR_KEY_FILE),
        "gates": str(write_freeze.folder()),
        "spool": str(spool),
        "floor_bytes": settings.FLOOR_BYTES,
        "driver": storage.driver,
        "root": storage.root,
        "protocol": storage.protocol,
        "options": storage.options,
    }
    return json.dumps(values)


def wanted_storage() -> storages.Storage:
    """Where the registry stores its images; Refused if it cannot."""
    try:
        storage = storages.of_settings()
    except ValueError as error:
        raise Refused(str(error)) from error
    if storage.driver in _NOT_DEBIANS and not settings.REGISTRY_PROGRAM:
        raise Refused(
            f"Debian's docker-registry has no driver for {storage.driver}: set "
            "BOATHOUSE_REGISTRY_PROGRAM to a registry that has it, or use an S3 service."
        )
    return storage


_NOT_DEBIANS = ("azure", "gcs")


def _render(name: str, values: Mapping[str, object]) -> str:
    text = (TEMPLATES / name).read_text()
    # The header of the file mentions the placeholder.
    return _Percent(text.replace("%{…}", "%%{…}")).substitute(values)


def _user_line() -> str:
    if os.geteuid() != 0:
        return "# no `user`: nginx runs as the user who started it"
    closed = closed_folder()
    if closed is None:
        return f"user {NGINX_USER};"
    return f"# {NGINX_USER} cannot pass {closed}\nuser root root;"


def _limits() -> dict[str, object]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = 16384 if hard == resource.RLIM_INFINITY or os.geteuid() == 0 else min(16384, hard)
    return {"open_files": most, "connections": most // 4}


def _listen(port: int, options: str = "") -> str:
    lines = (f"listen {address}:{port} {options}".rstrip() for address in ports.addresses())
    return "\n".join(f"        {line};" for line in lines)


def _anonymous() -> dict[str, object]:
    """The port for anonymous pulls, if there is one: its listen lines, and its number."""
    port = settings.ANONYMOUS_PORT
    return {
        "listen_anonymous": _listen(port, "ssl") if port else "",
        "anonymous_port": f'"{port}" 1;' if port else "",
    }


def _proxies() -> dict[str, object]:
    """Which proxies in front are trusted, and the port for them."""
    trusted, port = settings.TRUSTED_PROXIES, settings.PROXY_PORT
    if (port or settings.PROXY_PROTOCOL) and not (trusted and port):
        raise Refused(
            "A proxy in front needs both BOATHOUSE_PROXY_PORT and BOATHOUSE_TRUSTED_PROXIES, the "
            "addresses that it connects from: set both or none."
        )
    header = "proxy_protocol" if settings.PROXY_PROTOCOL else "X-Forwarded-For"
    believed = (
        *(f"set_real_ip_from {one};" for one in trusted),
        f"real_ip_header {header};",
        "real_ip_recursive on;",
    )
    return {
        "real_address": _lines(*believed, indent=4) if trusted else "",
        "trusted_proxies": _lines(*(f"{one} 1;" for one in trusted), indent=8),
        "proxy_port": f'"{port}:" 1;' if port else "",
        "listen_proxies": _listen(port, "ssl proxy_protocol" if settings.PROXY_PROTOCOL else "")
        if port
        else "",
    }


# A browser renders nothing but pages of the portal, least of all a pushed blob.
_NO_PAGE = (
    "add_header Content-Security-Policy \"default-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; sandbox\" always;"
)


def _headers(*more: str) -> str:
    # nginx forgets inherited add_header lines in a block that has one of its own: repeat them all.
    lines = ["add_header X-Content-Type-Options nosniff always;", *more]
    if settings.HSTS and speaks_for_a_name(settings.PUBLIC_HOST):
        lines.append('add_header Strict-Transport-Security "max-age=31536000" always;')
    return "\n".join(f"            {line}" for line in lines)


def _static_headers() -> Iterator[str]:
    """Those that Django's middleware gives pages."""
    policy = "; ".join(sorted(build_policy().split("; ")))  # the same text each time
    opener = settings.SECURE_CROSS_ORIGIN_OPENER_POLICY
    yield f'add_header Content-Security-Policy "{policy}" always;'
    yield f"add_header Referrer-Policy {settings.SECURE_REFERRER_POLICY} always;"
    yield f"add_header Cross-Origin-Opener-Policy {opener} always;"


def speaks_for_a_name(host: str) -> bool:
    """True if HSTS makes sense: not for an address, and localhost belongs to other programs too."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")
    return False


def _redirect_server() -> str:
    if not settings.HTTP_PORT:
        return ""
    return (
        "    server {\n"
        f"{_listen(settings.HTTP_PORT)}\n"
        "        server_name _;\n"
        "        location / {\n"
        f"{_plain()}\n"
        "        }\n"
        "    }"
    )


def _plain() -> str:
    """A browser is redirected to HTTPS. A program is not: it would keep sending its password in
    clear."""
    words = "use https; if a password was sent here, replace it: it was not encrypted"
    error = json.dumps({"errors": [{"code": "DENIED", "message": words, "detail": None}]})
    return _lines(
        "default_type application/json;",
        f"if ($uri ~ ^/v[12](?:/|$)) {{ return 403 '{error}'; }}",
        f"return 301 {settings.PUBLIC_URL}$request_uri;",
        indent=12,
    )


def put_nginx(text: str) -> None:
    """Puts `text` in place as nginx.conf, if `nginx -t` accepts it; else Refused, and no change."""
    place = nginx_file()
    with files.written_beside(place, text) as trial:
        if complaint := test(trial):
            raise Refused(
                f"nginx does not accept its new configuration ({complaint}); the old one stays."
            )
        trial.rename(place)
    files.sync_folder(place.parent)


def test(path: Path) -> str:
    """What nginx reports about that configuration file; "" if it is valid."""
    done = subprocess.run(  # noqa: S603  (our own program, no shell)
        [nginx_program(), "-t", "-q", "-c", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if "[emerg]" in line] or [done.stderr]
    return lines[0].partition("[emerg]")[2].strip() or lines[0].strip()


def reload() -> bool:
    """Reloads a running nginx, with its configuration, certificate and key, if they are valid.

    False if no nginx of ours runs. Raises Refused if `nginx -t` finds an error: the running one
    then keeps its configuration.
    """
    complaint = test(nginx_file())
    if complaint:
        raise Refused(f"nginx was not reloaded: {complaint}")
    try:
        os.kill(int((settings.RUN_DIR / "nginx.pid").read_text()), signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True
