"""Every address of the portal."""

from django.urls import URLPattern, URLResolver, path, register_converter

from registryui.views import converters
from registryui.views.dashboard import dashboard
from registryui.views.health import healthz
from registryui.views.login import login, logout
from registryui.views.password import password
from registryui.views.preferences import preferences
from registryui.views.repositories import repositories
from registryui.views.search import search

register_converter(converters.RepositoryConverter, "repository")
register_converter(converters.TagConverter, "tag")
register_converter(converters.DigestConverter, "digest")

urlpatterns: list[URLPattern | URLResolver] = [
    path("", dashboard, name="dashboard"),
    path("repositories/", repositories, name="repositories"),
    path("search", search, name="search"),
    path("password", password, name="password"),
    # -- open to everybody
    path("login", login, name="login"),
    path("logout", logout, name="logout"),
    path("preferences", preferences, name="preferences"),
    path("healthz", healthz, name="healthz"),
]
