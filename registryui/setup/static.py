"""Static files below DATA/static, gathered only when they changed."""

import hashlib
import io
import json
import shutil
from pathlib import Path

from django.conf import settings
from django.core.management import call_command

from registryui import files

from . import fonts, icons


def gather() -> bool:
    """Creates fonts and icons and gathers all static files if something changed; True if it did."""
    fonts.make()
    icons.make()
    shutil.rmtree(settings.DATA / "fonts", ignore_errors=True)  # where 0.5 had them
    state = _state()
    stamp = settings.STATIC_ROOT / ".collected"
    manifest = settings.STATIC_ROOT / "staticfiles.json"
    if _is_sound(manifest) and stamp.is_file() and stamp.read_bytes() == state.encode():
        return False
    manifest.unlink(missing_ok=True)  # a damaged one would be read
    call_command("collectstatic", interactive=False, verbosity=0, stdout=io.StringIO())
    files.write(stamp, state)
    return True


def _is_sound(manifest: Path) -> bool:
    """Whether all files that it names exist; without it no page can be rendered."""
    try:
        names = json.loads(manifest.read_bytes())["paths"].values()
        return all((settings.STATIC_ROOT / name).is_file() for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _state() -> str:
    """A hash that changes with our own files, the fonts, and the packages."""
    found = hashlib.sha256((settings.BASE_DIR / "requirements.txt").read_bytes())
    for folder in settings.STATICFILES_DIRS:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                name, seen = path.relative_to(folder), path.stat()
                found.update(f"{name}\0{seen.st_size}\0{seen.st_mtime_ns}\n".encode())
    return found.hexdigest()
