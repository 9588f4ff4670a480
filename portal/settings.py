"""All settings of a deployment, read from the environment.

docs/install.md has the table of the variables. Paths are below BOATHOUSE_DATA, so that moving the
folder and changing that setting moves everything.
"""

import json
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from portal.variables import (
    accept_old_names,
    addresses,
    database,
    endpoint,
    host,
    mail_tls,
    names,
    networks,
    number,
    one_of,
    port,
    program,
    public_url,
    pull_scopes,
    registry_name,
    schedule,
    store,
    switch,
    text,
    time_zone,
)

accept_old_names()

# templates/, static/ and deploy/ are beside this package in a clone, and inside it in a wheel.
_PORTAL = Path(__file__).resolve().parent
IS_WHEEL = (_PORTAL / "templates").is_dir()
BASE_DIR = _PORTAL if IS_WHEEL else _PORTAL.parent


def _secret(path: Path) -> str:
    """The content of a secret file, else a random value for this process: no default."""
    try:
        return path.read_text().strip() or secrets.token_urlsafe(48)
    except (OSError, ValueError):  # missing, or damaged: `up` creates another one
        return secrets.token_urlsafe(48)


def _secret_text(name: str) -> str:
    """A secret from the environment, else from the file that NAME_FILE names; "" for none, or a
    file that this user may not read."""
    path = text(f"{name}_FILE")
    try:
        return text(name) or (Path(path).expanduser().read_text().strip() if path else "")
    except (OSError, ValueError):
        return ""


# Variables that contain a secret: they are only written to files that others cannot read.
SECRET_VARIABLES = (
    *("DATABASE_URL", "BOATHOUSE_STORAGE_SECRET", "BOATHOUSE_BACKUP_SECRET"),
    "BOATHOUSE_SMTP_PASSWORD",
)

# -- the data folder -----------------------------------------------------------------------------
# A wheel's own folder is replaced by its next version: images are stored elsewhere.
_DATA = "~/boathouse" if IS_WHEEL else str(BASE_DIR / "var")
DATA = Path(text("BOATHOUSE_DATA", _DATA)).expanduser().absolute()
TLS_DIR = DATA / "tls"
SECRETS_DIR = DATA / "secrets"  # 0700: Django's key, the notifications' token
CONFIG_DIR = DATA / "config"  # generated at every start: nginx.conf, registry.yml
LOG_DIR = DATA / "log"
RUN_DIR = DATA / "run"  # process ids, the ports of the parts
SOCKETS_DIR = RUN_DIR / "sockets"  # for nginx and our own user only
# Pushes are refused while fewer megabytes are free; the first `up` needs as much.
FLOOR_BYTES = number("BOATHOUSE_FLOOR_MB", 500, unit="megabytes") * 1_000_000
# Reserved in DATA/reserve, which is removed when the disk is full all the same.
RESERVE_BYTES = number("BOATHOUSE_RESERVE_MB", 64, unit="megabytes") * 1_000_000
# All files in LOG_DIR together, and how long rotated ones are kept.
LOG_BYTES = number("BOATHOUSE_LOG_MB", 1000, least=1, unit="megabytes") * 1_000_000
LOG_DAYS = number("BOATHOUSE_LOG_DAYS", 30, least=1, most=36500, unit="days")
HTPASSWD_FILE = DATA / "htpasswd"
OVERLAP_FILE = DATA / "htpasswd.old"  # replaced secrets that are still valid
RIGHTS_DIR = DATA / "rights"  # 0711: marker files that nginx tests
MIRRORS_DIR = DATA / "mirrors"  # 0711: what nginx and the mirror service read of each mirror
MIRROR_KEY_FILE = SECRETS_DIR / "mirror-key"  # encrypts their passwords at upstreams
IMPORTS_DIR = DATA / "imports"  # 0700: uploaded archives; converted layers that are remembered
HOST_FILE = DATA / "host-id"  # with PostgreSQL: which of several hosts this one is
VERSIONS_DIR = DATA / "htpasswd-versions"  # 0700: the last 20 of the file
AUDIT_NOTE_FILE = DATA / "audit-newest"  # 0600: the newest row of the audit log, outside of it

# -- the store -----------------------------------------------------------------------------------
# "filesystem": in the data folder. Else a folder with a store, or the URL of an object store, such
# as s3://bucket/prefix, for the registry and our own reader; see registryui/registry/storages.py.
STORAGE = store("BOATHOUSE_STORAGE")
# The registry's own folder, if it keeps its images on this disk.
STORE_DIR = Path(STORAGE) if STORAGE.startswith("/") else DATA / "registry"
STORAGE_ENDPOINT = endpoint("BOATHOUSE_STORAGE_ENDPOINT")  # "": the service's own
STORAGE_REGION = text("BOATHOUSE_STORAGE_REGION", "us-east-1")
STORAGE_KEY = text("BOATHOUSE_STORAGE_KEY")  # access key or account; "": the machine's own role
STORAGE_SECRET_FILE = text("BOATHOUSE_STORAGE_SECRET_FILE")
STORAGE_SECRET = _secret_text("BOATHOUSE_STORAGE_SECRET")
# What the index is built from: the store itself, or the registry over HTTP, which is slower and has
# less data. "auto": the store if it can be read.
SOURCE = one_of("BOATHOUSE_SOURCE", "auto", ["auto", "store", "http"])

# -- addresses -----------------------------------------------------------------------------------
HOST = host("BOATHOUSE_HOST", "localhost")  # the name in commands on pages
PORT = port("BOATHOUSE_PORT", 8443)
HTTP_PORT = port("BOATHOUSE_HTTP_PORT", 0)  # 0: none; it only redirects to HTTPS
BIND = addresses("BOATHOUSE_BIND", ["*", "[::]"])
NAMES = names("BOATHOUSE_NAMES")
# Anonymous pulls: scopes such as public/*, on a separate port. Docker sends its login only to a
# registry that requires one at /v2/, so one port cannot serve both.
ANONYMOUS_PULL = pull_scopes("BOATHOUSE_ANONYMOUS_PULL")
ANONYMOUS_PORT = port("BOATHOUSE_ANONYMOUS_PORT", 0)  # 0: none
# The address for clients with a proxy or load balancer in front; else our own.
PUBLIC_HOST, PUBLIC_PORT = public_url("BOATHOUSE_PUBLIC_URL", HOST, PORT)
REGISTRY_NAME = registry_name(PUBLIC_HOST, PUBLIC_PORT)  # the host in image references
PUBLIC_URL = f"https://{REGISTRY_NAME}"
# For one address: requests a second without a login (ten times as many in a burst), concurrent
# requests.
REQUESTS_PER_SECOND = number("BOATHOUSE_REQUESTS_PER_SECOND", 500, least=1, most=100_000)
CONNECTIONS_PER_ADDRESS = number("BOATHOUSE_CONNECTIONS_PER_ADDRESS", 1000, least=1, most=100_000)
# Trusted for the client's address: X-Forwarded-For on our ports, or PROXY protocol.
TRUSTED_PROXIES = networks("BOATHOUSE_TRUSTED_PROXIES")
# A port for them only: HTTP for one that terminates TLS, or TLS inside PROXY protocol for one that
# passes it through.
PROXY_PORT = port("BOATHOUSE_PROXY_PORT", 0)  # 0: none
PROXY_PROTOCOL = switch("BOATHOUSE_PROXY_PROTOCOL", default=False)
# Browsers then use HTTPS for this host name for a year, on all ports.
HSTS = switch("BOATHOUSE_HSTS", default=True)
TLS_CERTIFICATE = text("BOATHOUSE_TLS_CERTIFICATE")  # a certificate of the user's own, with
TLS_KEY = text("BOATHOUSE_TLS_KEY")  # its key; then no CA is created


def _ports() -> dict[str, int]:
    """Loopback ports of the parts as the last `up` chose them; empty before the first."""
    try:
        found = json.loads((RUN_DIR / "ports.json").read_text())
        return {str(name): int(port) for name, port in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


# 0: the registry listens on sockets, for nginx and our own user. Else on this loopback port, for
# every program on this machine, without a password.
WANTED_REGISTRY_PORT = port("BOATHOUSE_REGISTRY_PORT", 0)
REGISTRY_PORT = number(
    "BOATHOUSE_REGISTRY_PORT", _ports().get("registry", 0), least=1, most=65535, zero=True
)
HOOK_PORT = port("BOATHOUSE_HOOK_PORT", _ports().get("hook", 8000))  # nginx accepts notifications
REGISTRY_URL = (
    f"http://127.0.0.1:{REGISTRY_PORT}" if REGISTRY_PORT else f"unix:{SOCKETS_DIR}/registry"
)
HOOK_TOKEN = _secret(SECRETS_DIR / "hook-token")  # the registry sends it with each notification
PROXY_TOKEN = _secret(SECRETS_DIR / "proxy-token")  # nginx sends it with each request to the portal
REGISTRY_PROGRAM = program("BOATHOUSE_REGISTRY_PROGRAM")  # "": Debian's docker-registry
SYNC_MINUTES = number("BOATHOUSE_SYNC_MINUTES", 15, least=1, unit="minutes")

# -- deletion ------------------------------------------------------------------------------------
# How long a deleted or overwritten tag can be restored; until then its image is kept.
UNDO_DAYS = number("BOATHOUSE_UNDO_DAYS", 7, least=1, most=3650, unit="days")
# Whether the label quay.expires-after of an image makes its tags expire. Off: whoever builds images
# would decide what is deleted here (docs/decisions/0019-tag-expiry.md).
EXPIRE_BY_LABEL = switch("BOATHOUSE_EXPIRE_BY_LABEL", default=False)


def _at_least(name: str, default: int, floor: int) -> timedelta:
    """Hours; at least `floor`, because images would be lost."""
    return timedelta(hours=number(name, default, least=floor, most=87600, unit="hours"))


# -- garbage collection ----------------------------------------------------------------------------
GC_GRACE = _at_least("BOATHOUSE_GC_GRACE_HOURS", 24, 1)  # grace period
QUARANTINE_TIME = _at_least("BOATHOUSE_QUARANTINE_HOURS", 24, 1)  # from quarantine to purge
UPLOAD_TIME = _at_least("BOATHOUSE_UPLOAD_HOURS", 168, 24)  # until an upload is abandoned
# Cron, in TIME_ZONE; empty: manual only.
GC_SCHEDULE = schedule("BOATHOUSE_GC_SCHEDULE", "0 2 * * 0")

# The integrity check: weekly. The same format.
INTEGRITY_SCHEDULE = schedule("BOATHOUSE_INTEGRITY_SCHEDULE", "0 4 * * 6")

# -- backups -------------------------------------------------------------------------------------
# A folder or s3://BUCKET/PREFIX; empty: no scheduled backups.
BACKUP_TO = text("BOATHOUSE_BACKUP_TO")
BACKUP_SCHEDULE = schedule("BOATHOUSE_BACKUP_SCHEDULE", "30 1 * * *")
# After a scheduled one, older snapshots are removed; 0: none are.
BACKUP_KEEP_DAYS = number(
    "BOATHOUSE_BACKUP_KEEP_DAYS", 30, least=1, most=36500, unit="days", zero=True
)
BACKUP_PASSWORD_FILE = text("BOATHOUSE_BACKUP_PASSWORD_FILE")  # "": SECRETS_DIR/backup-password
# For a bucket; "": as the store's own.
BACKUP_ENDPOINT = endpoint("BOATHOUSE_BACKUP_ENDPOINT")
BACKUP_REGION = text("BOATHOUSE_BACKUP_REGION")
BACKUP_KEY = text("BOATHOUSE_BACKUP_KEY")
BACKUP_SECRET = _secret_text("BOATHOUSE_BACKUP_SECRET")

# -- metrics -------------------------------------------------------------------------------------
METRICS = switch("BOATHOUSE_METRICS", default=False)  # /metrics, for Prometheus
METRICS_TOKEN = _secret(SECRETS_DIR / "metrics-token")  # Prometheus sends it with each scrape
# These may scrape without the token.
METRICS_NETWORKS = networks(
    "BOATHOUSE_METRICS_NETWORKS",
    "so anybody could read the metrics: write only those of your Prometheus, such as 10.0.0.7.",
)
# 0: none. Else a loopback port for the registry's own metrics: every program on this machine can
# read them there, and the token of the notifications with them.
METRICS_REGISTRY_PORT = port("BOATHOUSE_METRICS_REGISTRY_PORT", 0)

# -- notifications -------------------------------------------------------------------------------
SMTP_HOST = text("BOATHOUSE_SMTP_HOST")  # the mail server; "": no mail is sent
SMTP_PORT = port("BOATHOUSE_SMTP_PORT", 587)
SMTP_USER = text("BOATHOUSE_SMTP_USER")
SMTP_TLS = mail_tls("BOATHOUSE_SMTP_TLS", host=SMTP_HOST, user=SMTP_USER)
SMTP_PASSWORD = _secret_text("BOATHOUSE_SMTP_PASSWORD")
MAIL_FROM = text("BOATHOUSE_MAIL_FROM", f"boathouse@{HOST}")
# on: webhooks may lead to programs on this machine. Each administrator of the portal can then have
# requests sent to them.
NOTIFY_LOOPBACK = switch("BOATHOUSE_NOTIFY_LOOPBACK", default=False)
NOTIFY_DAYS = number("BOATHOUSE_NOTIFY_DAYS", 30, least=1, most=3650, unit="days")  # of the log

# -- Django --------------------------------------------------------------------------------------
SECRET_KEY = _secret(SECRETS_DIR / "django-key")
DEBUG = False
DEVELOPER_PAGES = switch("BOATHOUSE_DEVELOPER_PAGES", default=False)  # /components
ALLOWED_HOSTS = [HOST, PUBLIC_HOST, "localhost", "127.0.0.1", "[::1]", *NAMES]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]  # whatever Host a proxy in front sends
ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "registryui",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "axes",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "registryui.views.kept.in_one_moment",
    "registryui.views.parts.tell_outage",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "registryui.views.access.tell_address",  # before what may record: axes refuses logins
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "environment": "registryui.views.environment.environment",
            "context_processors": [
                "django.contrib.messages.context_processors.messages",
                "registryui.views.context.page",
            ],
        },
    },
]

# -- database ------------------------------------------------------------------------------------
DATABASE_URL = text("DATABASE_URL", f"sqlite:///{DATA / 'index.sqlite3'}")
_database = database(DATABASE_URL)
IS_POSTGRESQL = _database["ENGINE"].endswith("postgresql")
if IS_POSTGRESQL:
    _database["CONN_HEALTH_CHECKS"] = True
    _database.setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
else:
    _database["OPTIONS"] = {
        # Readers and the writer do not block each other; the writer locks at the start of a
        # transaction, because a read lock cannot be upgraded while another one writes.
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-32000;"
        ),
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }
DATABASES = {"default": _database}

# -- the audit log -------------------------------------------------------------------------------
# How long rows are kept; 0: for ever.
AUDIT_DAYS = number("BOATHOUSE_AUDIT_DAYS", 400, least=31, most=36500, unit="days", zero=True)


def _host_id() -> str:
    """The id of this host, as its first `up` wrote it; "" if there is none to read."""
    try:
        found = HOST_FILE.read_text().strip()
    except (OSError, ValueError):
        return ""
    return found if found.isalnum() and len(found) <= 32 else ""


# -- background jobs -----------------------------------------------------------------------------
HUEY: dict[str, Any] = {
    # By name: a command that gives the worker nothing to do starts without it.
    "huey_class": f"portal.jobs.{'PostgresJobQueue' if IS_POSTGRESQL else 'JobQueue'}",
    "name": "boathouse",
    "results": False,
    "immediate": False,
    "consumer": {
        # A sync, a retention run and a garbage collection may each take hours; one more is for
        # pushes.
        "workers": 4,
        "worker_type": "thread",
        "initial_delay": 0.02,
        "backoff": 1.15,
        "max_delay": 0.1,  # a push is on the page within a second: poll ten times as often
        "scheduler_interval": 1,  # seconds: access expires in time
    },
}
if IS_POSTGRESQL:
    # `up` creates its tables: importing a command must not need the database.
    HUEY["connection"] = {"dsn": DATABASE_URL, "create_tables": False}
    # A queue for each host: its own worker does the jobs of its pages, on its own files.
    HUEY["name"] += f"-{_host}" if (_host := _host_id()) else ""
elif DATA.is_dir():
    HUEY["connection"] = {"filename": str(DATA / "jobs.sqlite3"), "fsync": False}
else:  # before the first `up`: huey would open the file at once
    HUEY["huey_class"] = "huey.MemoryHuey"

# -- operators and their sessions ----------------------------------------------------------------
AUTH_USER_MODEL = "registryui.Operator"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "registryui.operators.Backend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "dashboard"
SESSION_ENGINE = "portal.sessions"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_EXPIRE_AT_BROWSER_CLOSE = True  # 12 hours with "stay signed in"
# Name and address together: nobody can lock out others from another machine.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "registryui.views.access.client_address"
AXES_LOCKOUT_CALLABLE = "registryui.views.operators.login.locked_out"
AXES_VERBOSE = False
AXES_DISABLE_ACCESS_LOG = True

# -- protections ---------------------------------------------------------------------------------
SECURE_PROXY_SSL_HEADER = (
    "HTTP_X_FORWARDED_PROTO",
    "https",
)  # nginx sets it; portal/behind_nginx.py removes it from other requests
SECURE_SSL_REDIRECT = True
SECURE_REDIRECT_EXEMPT = [r"^hooks/", r"^healthz$"]  # for the registry and `up`, on loopback
SECURE_HSTS_SECONDS = 31536000 if HSTS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = False  # names below this host may be used by others
SECURE_HSTS_PRELOAD = False
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # the two lines above are the reason
    "security.W021",
    "staticfiles.W004",  # the first `up` creates the fonts' folder
]
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SECURE = True
LANGUAGE_COOKIE_HTTPONLY = True
# With that prefix browsers accept a cookie only from this host, over TLS, for all paths.
SESSION_COOKIE_NAME = "__Host-boathouse_session"
CSRF_COOKIE_NAME = "__Host-boathouse_csrf"
LANGUAGE_COOKIE_NAME = "__Host-boathouse_language"
MESSAGE_STORAGE = "portal.messages.Messages"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024  # also the limit of a notification
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# -- languages, times, files ---------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [_PORTAL / "locale"]
USE_TZ = True
TIME_ZONE = time_zone("BOATHOUSE_TIME_ZONE", "UTC")

STATIC_URL = "static/"
STATIC_ROOT = DATA / "static"
STATICFILES_DIRS = [BASE_DIR / "static", DATA / "made"]  # made by `up`: fonts, icons
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"seldom": {"()": "portal.logs.Seldom"}},
    "formatters": {"line": {"()": "portal.logs.Line", "fmt": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "registryui": {"level": "INFO"},
        "huey": {"level": "WARNING"},
        "huey.consumer.Worker": {"filters": ["seldom"]},
        "huey.consumer.Scheduler": {"filters": ["seldom"]},
        # A wrong host name in a request is the sender's mistake.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}
