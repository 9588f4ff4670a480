"""Mirrors of other registries. Only registryui/mirrors/ writes here."""

from __future__ import annotations

from django.db import models


class Mirror(models.Model):
    """The namespace `name` is another registry's content: `name`/REST here is REST there."""

    name = models.CharField(max_length=64, unique=True)  # one part of a repository name
    url = models.CharField(max_length=512)  # scheme, host and port: "https://quay.io"
    user = models.CharField(max_length=255, blank=True)  # at the upstream; "": anonymous
    secret = models.TextField(blank=True)  # its password, encrypted: registryui/encryption.py
    allow = models.CharField(max_length=512, blank=True)  # patterns of REST; "": everything
    deny = models.CharField(max_length=512, blank=True)  # patterns of REST; they win
    fresh_minutes = models.PositiveIntegerField(default=10)  # until a tag is checked again
    keep_days = models.PositiveIntegerField(null=True, blank=True)  # since the last pull
    keep_bytes = models.BigIntegerField(null=True, blank=True)  # of all content together
    pins = models.TextField(blank=True)  # a line each, REST:TAG as patterns: they stay
    ca = models.TextField(blank=True)  # PEM, trusted besides the system's; "": none
    proxy = models.CharField(max_length=512, blank=True)  # URL, without a password; "": none
    is_library = models.BooleanField(default=False)  # REST without a slash is library/REST there
    is_active = models.BooleanField(default=True)  # False: only what is here is served
    # For clients that cannot log in, such as Docker's registry-mirrors.
    open_port = models.PositiveIntegerField(null=True, blank=True, unique=True)
    networks = models.CharField(max_length=1024, blank=True)  # CIDR, by spaces, that may use it
    made_by = models.CharField(max_length=255, blank=True)
    made_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
