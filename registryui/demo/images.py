"""The content of the demo registry: a dozen repositories as of a small company. Pure.

platform/api   three platforms, fifty tags, a signature, a bill of materials
charts/api     its Helm chart
tools/…        a build cache, and an image with hostile labels
"""

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from .bases import PATH, PYTHON_ENV, debian, python
from .build import AMD64, ARM64, ARM_V7, Json, Made, Step, image, image_index, noise
from .odd import odd_labels
from .referrers import (
    bill_of_materials,
    build_cache,
    cosign_signature,
    helm_chart,
    with_attestation,
)

_ORIGIN = "org.opencontainers.image"


@dataclass(frozen=True, slots=True)
class DemoRepository:
    """A repository and what to push to it, in order."""

    name: str
    made: tuple[Made, ...]

    def manifests(self) -> Iterator[Made]:
        """All manifests, each after those that it references."""
        for one in self.made:
            yield from one.children
            yield one


def make_images() -> list[DemoRepository]:
    """The demo repositories: the same bytes at every call, below 40 MB in the store."""
    return [
        DemoRepository("library/debian", _debian()),
        DemoRepository("library/busybox", _busybox()),
        DemoRepository("platform/api", _api()),
        DemoRepository("platform/worker", _worker()),
        DemoRepository("shop/web", _web()),
        DemoRepository("shop/checkout", _checkout()),
        DemoRepository("data/postgres", _postgres()),
        DemoRepository("data/spark", _spark()),
        DemoRepository("edge/gateway/mqtt", _mqtt()),
        DemoRepository("charts/api", _charts()),
        DemoRepository("tools/ci-runner", _runner()),
        DemoRepository("tools/odd-labels", odd_labels()),
    ]


# -- library -------------------------------------------------------------------------------------
def _debian() -> tuple[Made, ...]:
    made = image(debian(), "2026-06-10T00:00:00Z", docker=True, Env=[PATH], Cmd=["bash"])
    return (made.tagged("bookworm", "12", "12.7"),)


def _busybox() -> tuple[Made, ...]:
    def busybox(version: str, created: str) -> Made:
        steps = [Step("BusyBox (glibc), Debian 12", noise(f"busybox/{version}", 190_000))]
        return image(steps, created, Env=[PATH], Cmd=["sh"])

    return (
        busybox("1.36.1", "2026-07-01T08:00:00Z").tagged("1.36", "1.36.1"),
        busybox("1.37.0", "2026-10-02T08:00:00Z").tagged("1.37", "1.37.0", "latest"),
    )


# -- platform ------------------------------------------------------------------------------------
_PLATFORMS = (AMD64, ARM64, ARM_V7)


def _api() -> tuple[Made, ...]:
    """Old versions first, as they were pushed; then the current one and its referrers."""
    candidates = [
        image_index(*(_api_image(f"2.14.0-rc.{n}", created, one) for one in _PLATFORMS)).tagged(
            f"2.14.0-rc.{n}"
        )
        for n, created in ((1, "2026-11-04T10:31:09Z"), (2, "2026-11-11T16:02:55Z"))
    ]
    created = "2026-11-18T09:20:11Z"
    current = with_attestation(*(_api_image("2.14.0", created, one) for one in _PLATFORMS))
    packages = {"debian": "12.7", "openssl": "3.0.14", "python": "3.12.7", "django": "5.2.8"}
    return (
        *_api_history(),
        *candidates,
        current.tagged("2.14.0", "2.14", "2", "latest"),
        cosign_signature(current, "platform/api"),
        bill_of_materials(current, "platform/api:2.14.0", packages, created),
    )


def _api_history() -> Iterator[Made]:
    """2.0.0 to 2.13.2: a minor version every eleven days, with two patches each."""
    for minor in range(14):
        for patch in range(3):
            month, day = divmod(minor * 11 + patch * 3, 28)
            created = f"2026-{6 + month:02}-{day + 1:02}T{8 + patch}:{minor * 4:02}:00Z"
            version = f"2.{minor}.{patch}"
            yield _api_image(version, _two_digits(created)).tagged(version)


def _two_digits(created: str) -> str:
    date, _, time = created.partition("T")
    return f"{date}T{time:0>9}"


def _api_image(version: str, created: str, platform: Json = AMD64) -> Made:
    name = f"api/{version}/{platform['architecture']}"
    steps = [
        *python(platform),
        Step("WORKDIR /srv/api"),
        Step(
            "RUN /bin/sh -c pip install --no-cache-dir -r requirements.txt # buildkit",
            noise(f"api/requirements/{platform['architecture']}", 640_000),
        ),
        Step(
            "COPY src/ /srv/api # buildkit", noise(name, 20_000 + crc32(version.encode()) % 60_000)
        ),
        Step("EXPOSE map[8080/tcp:{}]"),
        Step("USER api"),
        Step('CMD ["gunicorn" "--bind" "0.0.0.0:8080" "api.wsgi"]'),
    ]
    return image(
        steps,
        created,
        platform=platform,
        author="Platform team <platform@example.com>",
        User="api",
        WorkingDir="/srv/api",
        Env=[*PYTHON_ENV, f"API_VERSION={version}", "WEB_CONCURRENCY=4"],
        Cmd=["gunicorn", "--bind", "0.0.0.0:8080", "api.wsgi"],
        ExposedPorts={"8080/tcp": {}},
        Healthcheck={"Test": ["CMD", "curl", "-f", "http://localhost:8080/healthz"]},
        Labels=_labels("api", version, created, "The API that everything else asks"),
    )


def _worker() -> tuple[Made, ...]:
    def worker(version: str, created: str) -> Made:
        steps = [
            *python(),
            Step("COPY worker/ /srv/worker # buildkit", noise(f"worker/{version}", 84_000)),
            Step('ENTRYPOINT ["python3" "-m" "worker"]'),
        ]
        labels = _labels("worker", version, created, "Sends mails, makes invoices")
        entry = ["python3", "-m", "worker"]
        return image(steps, created, Env=PYTHON_ENV, Entrypoint=entry, Labels=labels)

    return (
        worker("1.3.0", "2026-09-08T12:40:00Z").tagged("1.3.0"),
        worker("1.3.1", "2026-10-21T07:15:30Z").tagged("1.3.1", "1.3", "latest"),
    )


def _labels(title: str, version: str, created: str, description: str) -> dict[str, str]:
    return {
        f"{_ORIGIN}.title": title,
        f"{_ORIGIN}.version": version,
        f"{_ORIGIN}.created": created,
        f"{_ORIGIN}.description": description,
        f"{_ORIGIN}.source": f"https://git.example.com/team/{title}",
        f"{_ORIGIN}.licenses": "Apache-2.0",
    }


# -- shop ----------------------------------------------------------------------------------------
def _web() -> tuple[Made, ...]:
    def web(version: str, created: str) -> Made:
        steps = [
            *debian(),
            Step(
                "RUN /bin/sh -c apt-get update && apt-get install -y nginx && "
                "ln -sf /dev/stdout /var/log/nginx/access.log # buildkit",
                noise("nginx", 720_000),
            ),
            Step("COPY dist/ /usr/share/nginx/html # buildkit", noise(f"web/{version}", 410_000)),
            Step("EXPOSE map[443/tcp:{} 80/tcp:{}]"),
            Step("STOPSIGNAL SIGQUIT"),
        ]
        return image(
            steps,
            created,
            Env=[PATH, "NGINX_VERSION=1.26.2"],
            Cmd=["nginx", "-g", "daemon off;"],
            ExposedPorts={"80/tcp": {}, "443/tcp": {}},
            StopSignal="SIGQUIT",
            Labels=_labels("web", version, created, "The shop's pages"),
        )

    return (
        web("2026.9.4", "2026-09-24T15:00:00Z").tagged("2026.9.4"),
        web("2026.10.1", "2026-10-06T15:30:00Z").tagged("2026.10.1"),
        web("2026.11.2", "2026-11-17T13:45:00Z").tagged("2026.11.2", "stable", "latest"),
    )


def _checkout() -> tuple[Made, ...]:
    def checkout(branch: str, created: str) -> Made:
        own = noise(f"checkout/{branch}", 56_000)
        steps = [*python(), Step("COPY . /app # buildkit", own), Step("WORKDIR /app")]
        labels = {f"{_ORIGIN}.ref.name": branch}
        return image(steps, created, Env=PYTHON_ENV, WorkingDir="/app", Labels=labels)

    return (
        checkout("main", "2026-11-20T11:11:00Z").tagged("main", "3f2a91c"),
        checkout("feature/new-basket", "2026-11-19T17:03:00Z").tagged("feature-new-basket"),
        checkout("pr-412", "2026-11-12T10:22:00Z").tagged("pr-412"),
    )


# -- data and edge -------------------------------------------------------------------------------
def _postgres() -> tuple[Made, ...]:
    def postgres(version: str, created: str) -> Made:
        major, data = version.partition(".")[0], "/var/lib/postgresql/data"
        steps = [
            *debian(),
            Step("/bin/sh -c groupadd -r postgres --gid=999", noise("postgres/user", 20_000)),
            Step(f"/bin/sh -c #(nop)  ENV PG_MAJOR={major}"),
            Step(
                f"|1 PG_VERSION={version} /bin/sh -c apt-get install -y postgresql-{major}",
                noise(f"postgres/{version}", 1_900_000),
            ),
            Step(f"/bin/sh -c #(nop)  VOLUME [{data}]"),
        ]
        return image(
            steps,
            created,
            docker=True,
            Env=[PATH, f"PG_MAJOR={major}", f"PG_VERSION={version}", f"PGDATA={data}"],
            Entrypoint=["docker-entrypoint.sh"],
            Cmd=["postgres"],
            ExposedPorts={"5432/tcp": {}},
            Volumes={data: {}},
            StopSignal="SIGINT",
        )

    return (
        postgres("15.8", "2026-08-12T06:00:00Z").tagged("15", "15.8"),
        postgres("16.4", "2026-08-12T06:20:00Z").tagged("16", "16.4", "latest"),
    )


def _spark() -> tuple[Made, ...]:
    steps = [
        *python(),
        Step("RUN apt-get install -y openjdk-17-jre-headless", noise("spark/java", 2_600_000)),
        Step("ADD spark-3.5.3-bin-hadoop3.tgz /opt # buildkit", noise("spark/spark", 3_000_000)),
        Step("ENV SPARK_HOME=/opt/spark"),
    ]
    created = "2026-10-29T19:08:00Z"
    made = image(steps, created, Env=[*PYTHON_ENV, "SPARK_HOME=/opt/spark"], WorkingDir="/opt")
    return (made.tagged("3.5.3", "3.5.3-python3", "latest"),)


def _mqtt() -> tuple[Made, ...]:
    def mqtt(version: str, created: str, platform: Json) -> Made:
        own = noise(f"mqtt/{version}/{platform['architecture']}", 130_000)
        steps = [Step("COPY gateway /gateway # buildkit", own), Step('ENTRYPOINT ["/gateway"]')]
        ports: Json = {"1883/tcp": {}, "8883/tcp": {}}
        entry = ["/gateway"]
        return image(steps, created, platform=platform, Entrypoint=entry, ExposedPorts=ports)

    def index(version: str, created: str) -> Made:
        return image_index(*(mqtt(version, created, one) for one in (ARM_V7, ARM64)))

    return (
        index("0.4.0", "2026-09-30T09:09:00Z").tagged("0.4.0"),
        index("0.4.1", "2026-11-13T14:27:00Z").tagged("0.4.1", "latest"),
    )


# -- charts and tools ----------------------------------------------------------------------------
def _charts() -> tuple[Made, ...]:
    return (
        helm_chart("api", "2.13.2", "2026-10-30T10:00:00Z"),
        helm_chart("api", "2.14.0", "2026-11-18T10:00:00Z"),
    )


def _runner() -> tuple[Made, ...]:
    created = "2026-11-09T22:40:00Z"
    tools = noise("runner/tools", 380_000)
    steps = [*debian(), Step("RUN apt-get install -y git make skopeo # buildkit", tools)]
    labels = _labels("ci-runner", "7", created, "What builds run in")
    return (
        image(steps, created, Env=[PATH], Cmd=["/run.sh"], Labels=labels).tagged("7", "latest"),
        build_cache([tools, noise("runner/compiler", 520_000)], created).tagged("buildcache"),
    )
