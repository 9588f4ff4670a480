"""Base images: their history, as Docker's builders write it. Pure."""

from .build import AMD64, ARM_V7, Json, Step, noise

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON_ENV = [PATH, "LANG=C.UTF-8", "PYTHON_VERSION=3.12.7", "PYTHONUNBUFFERED=1"]

_RELEASED = "2026-06-10T00:00:00Z"  # of the common Debian base


def debian(platform: Json = AMD64) -> list[Step]:
    """Debian, with a history as Docker's old builder writes it."""
    name = _name(platform)
    size = 2_300_000 if platform == ARM_V7 else 2_800_000
    return [
        Step(
            f"/bin/sh -c #(nop) ADD file:debian-bookworm-{name} in / ",
            noise(f"debian/{name}/rootfs", size),
            _RELEASED,
        ),
        Step('/bin/sh -c #(nop)  CMD ["bash"]', None, _RELEASED),
    ]


def python(platform: Json = AMD64) -> list[Step]:
    """Python on Debian, with a history as BuildKit writes it."""
    name, made = _name(platform), "2026-06-18T09:12:41Z"
    return [
        *debian(platform),
        Step(f"ENV {PATH}", None, made),
        Step("ENV LANG=C.UTF-8", None, made),
        Step(
            "RUN /bin/sh -c set -eux; apt-get update; apt-get install -y --no-install-recommends "
            "ca-certificates netbase tzdata; rm -rf /var/lib/apt/lists/* # buildkit",
            noise(f"python/{name}/packages", 210_000),
            made,
        ),
        Step("ENV PYTHON_VERSION=3.12.7", None, made),
        Step(
            "RUN /bin/sh -c set -eux; ./configure --enable-optimizations --with-lto && "
            "make -j 4 && make install && python3 --version # buildkit",
            noise(f"python/{name}/python", 1_300_000),
            made,
        ),
        Step('CMD ["python3"]', None, made),
    ]


def _name(platform: Json) -> str:
    return f"{platform['architecture']}{platform.get('variant', '')}"
