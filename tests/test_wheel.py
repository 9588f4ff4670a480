"""`./boathouse wheel`: what the Python package holds, and that it runs without a clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from portal import __version__
from tests.support.pins import pins

ROOT = Path(__file__).resolve().parents[1]
INFO = f"boathouse-{__version__}.dist-info"
NEED = re.compile(r"^Requires-Dist: ([a-z0-9._-]+)\S*==([^;\s]+)(.*)$", re.MULTILINE)


def run(*words: str, cwd: Path, environment: Mapping[str, str] = os.environ) -> str:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    return folder / f"boathouse-{__version__}-py3-none-any.whl"


def files(folder: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*") if path.is_file()]


def test_a_wheel_holds_the_packages_and_what_stands_beside_them(wheel: Path) -> None:
    beside = [path for folder in ("deploy", "static", "templates") for path in files(folder)]
    packages = [path for folder in ("portal", "registryui") for path in files(folder)]
    code = [path for path in packages if path.suffix in (".py", ".po")]
    wanted = {f"portal/{path.relative_to(ROOT)}" for path in beside}
    wanted |= {str(path.relative_to(ROOT)) for path in code}
    wanted |= {name.removesuffix(".po") + ".mo" for name in wanted if name.endswith(".po")}
    wanted |= {"portal/requirements.txt"}
    names = set(ZipFile(wheel).namelist())
    assert {name for name in names if not name.startswith(f"{INFO}/")} == wanted
    assert f"{INFO}/licenses/LICENSE" in names


def test_a_wheel_needs_what_the_files_of_requirements_name(wheel: Path) -> None:
    needs = NEED.findall(ZipFile(wheel).read(f"{INFO}/METADATA").decode())
    assert {name: version for name, version, extra in needs if not extra} == pins("requirements.in")
    s3 = {name: version for name, version, extra in needs if "extra == 's3'" in extra}
    assert s3 == pins("requirements-s3.in")


def test_an_installed_wheel_runs_and_finds_its_files(wheel: Path, tmp_path: Path) -> None:
    """Its images are not kept in its own folder, which goes with the next version."""
    place = tmp_path / "installed"
    run("-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(place), str(wheel),
        cwd=tmp_path)  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOATHOUSE_")}
    environment = {**kept, "PYTHONPATH": str(place), "HOME": str(tmp_path)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)

    def boathouse(*words: str) -> str:
        return run(str(place / "bin" / "boathouse"), *words, cwd=tmp_path, environment=environment)

    assert boathouse("--version") == f"boathouse {__version__}\n"
    assert re.search(r"^\[registryui\]\n(    \w+\n)+    up\n", boathouse("--help"), re.MULTILINE)
    script = (
        "from django.conf import settings\n"
        "from django.template.loader import get_template\n"
        "from registryui.setup import configuration\n"
        "print(get_template('base.html').origin.name, *configuration.TEMPLATES.glob('nginx*'))\n"
        "print(*settings.LOCALE_PATHS, settings.STATICFILES_DIRS[0], settings.DATA)\n"
    )
    portal = place / "portal"
    assert boathouse("shell", "-v", "0", "-c", script).split() == [
        str(portal / "templates" / "base.html"),
        str(portal / "deploy" / "nginx.conf.template"),
        *(str(portal / "locale"), str(portal / "static")),
        str(tmp_path / "boathouse"),
    ]
