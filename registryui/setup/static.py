"""Static files below DATA/static, collected only when they changed."""

import hashlib
import io
from pathlib import Path

from django.conf import settings
from django.core.management import call_command

from . import fonts
from .data import write_file


def collect() -> bool:
    """Makes the fonts and collects all static files if something changed; True if it did."""
    fonts.make()
    state = _state()
    stamp = settings.STATIC_ROOT / ".collected"
    manifest = settings.STATIC_ROOT / "staticfiles.json"
    if manifest.exists() and stamp.exists() and stamp.read_text() == state:
        return False
    call_command("collectstatic", interactive=False, verbosity=0, stdout=io.StringIO())
    write_file(stamp, state.encode())
    return True


def _state() -> str:
    """A hash that changes with our own files, the fonts, and the packages."""
    found = hashlib.sha256((settings.BASE_DIR / "requirements.txt").read_bytes())
    for folder in settings.STATICFILES_DIRS:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                name, seen = path.relative_to(folder), path.stat()
                found.update(f"{name}\0{seen.st_size}\0{seen.st_mtime_ns}\n".encode())
    return found.hexdigest()
