"""Static files below DATA/static, gathered only when they changed. nginx serves them."""

import gzip
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
    """Creates fonts and icons and gathers all static files if something changed; True if it did.
    Either way nginx can read them afterwards."""
    fonts.make()
    icons.make()
    shutil.rmtree(settings.DATA / "fonts", ignore_errors=True)  # where 0.5 had them
    state = _state()
    stamp = settings.STATIC_ROOT / ".state"
    manifest = settings.STATIC_ROOT / "staticfiles.json"
    is_new = not (_is_sound(manifest) and stamp.is_file() and stamp.read_bytes() == state.encode())
    if is_new:
        manifest.unlink(missing_ok=True)  # a damaged one would be read
        call_command("collectstatic", interactive=False, verbosity=0, stdout=io.StringIO())
        _compress()
        files.write(stamp, state)
    _let_nginx_read()
    return is_new


def _is_sound(manifest: Path) -> bool:
    """Whether all files that it names exist; without it no page can be rendered."""
    try:
        names = json.loads(manifest.read_bytes())["paths"].values()
        return all((settings.STATIC_ROOT / name).is_file() for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _compress() -> None:
    """For nginx's gzip_static: NAME.gz beside each file that gets smaller."""
    for path in settings.STATIC_ROOT.rglob("*"):
        if path.suffix in (".css", ".js", ".svg"):
            files.write(path.with_name(f"{path.name}.gz"), gzip.compress(path.read_bytes()))


def _let_nginx_read() -> None:
    """Its workers may be another user; with a umask of 077, or restored, files are ours only."""
    for path in settings.STATIC_ROOT.rglob("*"):
        mode = 0o711 if path.is_dir() else 0o644
        if not path.is_symlink() and path.stat().st_mode & mode != mode:
            path.chmod(mode)


def _state() -> str:
    """A hash that changes with our own files, the fonts, and the packages."""
    found = hashlib.sha256((settings.BASE_DIR / "requirements.txt").read_bytes())
    for folder in settings.STATICFILES_DIRS:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                name, seen = path.relative_to(folder), path.stat()
                found.update(f"{name}\0{seen.st_size}\0{seen.st_mtime_ns}\n".encode())
    return found.hexdigest()
