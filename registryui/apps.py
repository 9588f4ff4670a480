"""The one app: the product."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class RegistryUiConfig(AppConfig):
    name = "registryui"
    verbose_name = "Boathouse"

    def ready(self) -> None:
        from registryui.index import counts  # needs the tables' classes

        post_migrate.connect(counts.recount, sender=self)
