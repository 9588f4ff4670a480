"""Messages about the previous action, shown once; used by MESSAGE_STORAGE in settings.py."""

from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage


class _Cookie(CookieStorage):
    cookie_name = "__Host-boathouse_messages"


class Messages(FallbackStorage):
    """Django's: a cookie, the session for what is too long. The cookie is named like the others."""

    storage_classes = (_Cookie, SessionStorage)
