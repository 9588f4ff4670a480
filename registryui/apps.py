"""The one app: the product."""

from django.apps import AppConfig


class RegistryUiConfig(AppConfig):
    name = "registryui"
    verbose_name = "Boathouse"
