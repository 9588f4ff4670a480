"""Every address of the portal."""

from django.urls import URLPattern, URLResolver, path, register_converter

from registryui.views import converters
from registryui.views.dashboard import dashboard
from registryui.views.docker_search import docker_search
from registryui.views.doctor import doctor, doctor_check
from registryui.views.health import healthz
from registryui.views.hooks import registry as hook
from registryui.views.login import login, logout
from registryui.views.operators import (
    operator,
    operator_add,
    operator_change,
    operators,
)
from registryui.views.password import password
from registryui.views.preferences import preferences
from registryui.views.repositories import repositories
from registryui.views.repository import repository
from registryui.views.search import search
from registryui.views.tag import manifest, tag
from registryui.views.trust import ca, trust

register_converter(converters.RepositoryConverter, "repository")
register_converter(converters.TagConverter, "tag")
register_converter(converters.DigestConverter, "digest")

urlpatterns: list[URLPattern | URLResolver] = [
    path("", dashboard, name="dashboard"),
    path("repositories/", repositories, name="repositories"),
    path("repositories/<repository:repository>", repository, name="repository"),
    path("repositories/<repository:repository>:<tag:tag>", tag, name="tag"),
    path("repositories/<repository:repository>@<digest:digest>", manifest, name="manifest"),
    path("search", search, name="search"),
    path("password", password, name="password"),
    path("operators", operators, name="operators"),
    path("operators/add", operator_add, name="operator_add"),
    path("operators/<int:pk>", operator, name="operator"),
    path("operators/<int:pk>/change", operator_change, name="operator_change"),
    path("doctor", doctor, name="doctor"),
    path("doctor/check", doctor_check, name="doctor_check"),
    # -- open to everybody
    path("trust", trust, name="trust"),
    path("ca.crt", ca, name="ca"),
    path("login", login, name="login"),
    path("logout", logout, name="logout"),
    path("preferences", preferences, name="preferences"),
    path("healthz", healthz, name="healthz"),
    # -- for registry users: nginx checks them and says who it is
    path("v1/search", docker_search, name="docker_search"),
    # -- for the registry on loopback: nginx answers 404 in its place
    path("hooks/registry", hook, name="hook"),
]
