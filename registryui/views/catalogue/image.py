"""What the page of an image shows, prepared from stored bytes and rows: values in, values out.

tag.py reads the rows, templates/catalogue/tag/ show these. Bytes and words come from whoever
pushed: nothing here raises for any of them, and every text goes through plain_text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registryui.oci import manifest as oci
from registryui.oci import media_types
from registryui.oci.config import (
    ImageConfig,
    Step,
    dockerfile,
    pair_layers,
    parse_config,
    schema1_config,
)
from registryui.oci.digest import short
from registryui.oci.manifest import parse_manifest
from registryui.views.plain_text import Shown, line, shown

from .media_words import media_words

ENTRY_LIMIT = 500  # labels, variables, platforms, layers: more are counted, not shown
RAW_LIMIT = 200_000  # characters of stored JSON on the page; a download has all of it
DOCKERFILE_LIMIT = 100_000
LONG_COMMAND = 60  # characters; longer ones unfold
LAYER_HUES = (1, 2, 5, 4, 3, 6)
BAR = 1000.0  # units the bar of layers is wide


# -- reading what is stored ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """A manifest and its config as far as they can be read; `trouble` says what cannot."""

    manifest: oci.Manifest | None
    config: ImageConfig | None
    trouble: tuple[Notice, ...] = ()


def read(raw: bytes, media_type: str, config: bytes | None, *, is_sparse: bool = False) -> Read:
    """Parses both; what is wrong with them becomes words instead of an exception. `is_sparse`: the
    config may not be pulled yet."""
    trouble: list[Notice] = []
    manifest = parsed_config = None
    try:
        manifest = parse_manifest(raw, media_type)
    except ValueError as error:
        words = _("The manifest cannot be read: %s.") % line(str(error))
        trouble.append(
            Notice(words, _("See Raw for the stored bytes. The image cannot be pulled."))
        )
    if manifest is not None and media_types.is_schema1(manifest.media_type):
        parsed_config = schema1_config(manifest.schema1_history)
    elif manifest is not None and manifest.kind == "image" and config:
        try:
            parsed_config = parse_config(config)
        except ValueError as error:
            words = _("The image config cannot be read: %s.") % line(str(error))
            trouble.append(
                Notice(words, _("See Raw for the stored bytes. Clients may reject the image."))
            )
    elif manifest is not None and manifest.kind == "image" and not is_sparse:
        words = _("The config of this image is not available.")
        advice = _("Its commands and settings cannot be shown; its layers are listed below.")
        trouble.append(Notice(words, advice))
    return Read(manifest, parsed_config, tuple(trouble))


# -- platforms of an image index -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an image index; `size` None: the registry does not have that manifest."""

    digest: str
    media_type: str
    platform: str
    annotations: Mapping[str, str]
    size: int | None

    @property
    def is_attestation(self) -> bool:
        return is_attestation(self.platform, self.annotations)

    @property
    def attests(self) -> str:
        """Digest of the image that this is an attestation of, "" if it is none."""
        return str(self.annotations.get("vnd.docker.reference.digest", ""))

    @property
    def words(self) -> str:
        if self.is_attestation:
            return _("Build attestation")
        return media_words(self.media_type)


@dataclass(frozen=True, slots=True)
class Choice:
    """One image of an image index. `key` is what ?platform= says."""

    key: str
    label: str
    digest: str
    size: int
    is_present: bool


def choices(entries: Iterable[Entry]) -> list[Choice]:
    """The images to choose from in the order of the index, without attestations. Two entries of
    one platform (Windows versions) are told apart by digest."""
    found: list[Choice] = []
    taken: set[str] = set()
    for entry in entries:
        if entry.is_attestation:
            continue
        platform = entry.platform
        key = platform if platform and platform not in taken else entry.digest
        label = platform if key == platform else f"{platform} {short(entry.digest)}".strip()
        taken.add(platform)
        found.append(Choice(key, label, entry.digest, entry.size or 0, entry.size is not None))
    return found


def choose(found: Sequence[Choice], wanted: str, *, is_sparse: bool = False) -> Choice | None:
    """The wanted image, else linux/amd64, else the first that is there; None of an empty index.
    `is_sparse`: linux/amd64 only if it is there."""
    for key in (wanted, "linux/amd64"):
        for choice in found:
            is_meant = key and key in (choice.key, choice.digest)
            if is_meant and (key == wanted or choice.is_present or not is_sparse):
                return choice
    return next((choice for choice in found if choice.is_present), found[0] if found else None)


def is_attestation(platform: str, annotations: Mapping[str, str]) -> bool:
    """BuildKit's provenance and SBOM travel in the image index as images of no platform."""
    is_named = annotations.get("vnd.docker.reference.type") == "attestation-manifest"
    return is_named or platform == "unknown/unknown"


def believable(when: datetime | None) -> datetime | None:
    """A time of building, if it is one: builds that can be repeated write 1970 or 1980."""
    return when if when is not None and 1981 <= when.year <= 2999 else None


# -- layers --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One line of the history: a layer with what made it, or a step that made none.

    Geometry is text because SVG attributes must not follow the language's decimal comma.
    """

    number: int  # 1 is the base; 0 for a step without a layer
    instruction: str
    arguments: Shown
    digest: str = ""
    words: str = ""  # what kind of layer, where that is not the usual one
    size: int = 0
    shared_with: int = 0  # other manifests of the whole registry
    is_foreign: bool = False
    is_absent: bool = False  # of a mirrored repository: not pulled yet
    total: int = 0  # bytes up to and with this layer
    hue: int = 0
    bar_x: str = ""
    bar_width: str = ""
    run_x: str = ""
    run_width: str = ""

    @property
    def is_long(self) -> bool:
        return len(self.arguments.text) > LONG_COMMAND or "\n" in self.arguments.text

    @property
    def has_layer(self) -> bool:
        return self.number > 0


@dataclass(frozen=True, slots=True)
class Layers:
    rows: tuple[LayerRow, ...]
    count: int
    size: int
    shared_size: int
    left_out: int = 0  # rows beyond ENTRY_LIMIT

    @property
    def bars(self) -> list[LayerRow]:
        return [row for row in self.rows if row.bar_width]


def layers(
    read: Read, users: Mapping[str, int], *, absent: Collection[str] = frozenset()
) -> Layers:
    """The history with its layers, base first. `users` counts the manifests that need a blob."""
    if read.manifest is None:
        return Layers((), 0, 0, 0)
    blobs = read.manifest.layer_blobs
    steps = pair_layers(read.config or ImageConfig(), len(blobs))
    sizes = [0 if blob.urls else blob.size for blob in blobs]
    bars, total = _bars(sizes), sum(sizes)
    before = _running(sizes)
    rows = [
        _step_row(step)
        if index is None
        else replace(
            _layer_row(index, step, blobs[index], users, before[index], total, bars[index]),
            is_absent=blobs[index].digest in absent,
        )
        for index, step in steps
    ]
    shared = {b.digest: s for b, s in zip(blobs, sizes, strict=True) if users.get(b.digest, 0) > 1}
    return Layers(
        tuple(rows[:ENTRY_LIMIT]),
        len(blobs),
        total,
        sum(shared.values()),
        max(len(rows) - ENTRY_LIMIT, 0),
    )


def _step_row(step: Step) -> LayerRow:
    return LayerRow(0, line(step.instruction, 40), shown(step.arguments or step.comment))


def _layer_row(
    index: int,
    step: Step,
    blob: oci.Descriptor,
    users: Mapping[str, int],
    before: int,
    total: int,
    bar: tuple[float, float],
) -> LayerRow:
    size = 0 if blob.urls else blob.size
    title = blob.annotations.get("org.opencontainers.image.title", "")
    return LayerRow(
        number=index + 1,
        instruction=line(step.instruction, 40),
        arguments=shown(step.arguments or step.comment or title),
        digest=blob.digest,
        words=""
        if step.arguments and not media_types.is_encrypted(blob.media_type)
        else media_words(blob.media_type),
        size=size,
        shared_with=max(users.get(blob.digest, 0) - 1, 0),
        is_foreign=bool(blob.urls),
        total=before + size,
        hue=LAYER_HUES[index % len(LAYER_HUES)],
        bar_x=f"{bar[0]:.1f}" if size else "",
        bar_width=f"{bar[1]:.1f}" if size else "",
        run_x=f"{before / total * 100:.1f}" if total else "0",
        run_width=f"{max(size / total * 100, 0.5):.1f}" if size else "0",
    )


def _running(sizes: Sequence[int]) -> list[int]:
    """Bytes below each layer."""
    below, total = [], 0
    for size in sizes:
        below.append(total)
        total += size
    return below


def _bars(sizes: Sequence[int]) -> list[tuple[float, float]]:
    """(x, width) of each layer in a bar of BAR units: true shares, but none too thin to see."""
    drawn = [size for size in sizes if size]
    gap = min(3.0, BAR / 4 / max(len(drawn), 1))
    room = BAR - gap * max(len(drawn) - 1, 0)
    total = sum(drawn) or 1
    thinnest = min(4.0, room / 4 / max(len(drawn), 1))
    widths = [max(size / total * room, thinnest) if size else 0.0 for size in sizes]
    scale = room / (sum(widths) or 1)
    found, x = [], 0.0
    for width in widths:
        found.append((x, width * scale))
        x += width * scale + gap if width else 0.0
    return found


# -- Dockerfile, config, labels ------------------------------------------------------------------


def dockerfile_of(config: ImageConfig) -> Shown:
    """The Dockerfile as far as the history tells it."""
    return shown(dockerfile(config), DOCKERFILE_LIMIT)


@dataclass(frozen=True, slots=True)
class ConfigFact:
    """A Dockerfile's word and its values, one a line; no values: not set."""

    name: str
    values: tuple[Shown, ...]
    left_out: int = 0


def config_facts(config: ImageConfig) -> list[ConfigFact]:
    """What a container of this image starts with."""
    return [
        _fact("ENTRYPOINT", _command(config.entrypoint)),
        _fact("CMD", _command(config.cmd)),
        _fact("USER", [config.user]),
        _fact("WORKDIR", [config.working_dir]),
        _fact("EXPOSE", config.ports),
        _fact("ENV", config.env),
        _fact("VOLUME", config.volumes),
        _fact("STOPSIGNAL", [config.stop_signal]),
        _fact("HEALTHCHECK", _command(config.healthcheck)),
    ]


def _fact(name: str, values: Iterable[str]) -> ConfigFact:
    every = [value for value in values if value]
    kept = tuple(shown(value) for value in every[:ENTRY_LIMIT])
    return ConfigFact(name, kept, len(every) - len(kept))


def _command(words: Sequence[str] | None) -> list[str]:
    """A command in the exec form, which keeps its arguments apart."""
    return [json.dumps(list(words), ensure_ascii=False)] if words else []


def runs_as(config: ImageConfig) -> str:
    """The user of the container's first process; "" in the config means root."""
    return line(config.user, 64) or "root"


def ports_of(config: ImageConfig) -> str:
    """Ports as people say them: `8000` for 8000/tcp. At most eight."""
    ports = [line(str(port), 32).removesuffix("/tcp") for port in list(config.ports)[:8]]
    return ", ".join(ports) + (" …" if len(config.ports) > 8 else "")


@dataclass(frozen=True, slots=True)
class Label:
    name: Shown
    value: Shown
    origin: str  # words: where it is written


@dataclass(frozen=True, slots=True)
class Labels:
    rows: tuple[Label, ...]
    count: int

    @property
    def left_out(self) -> int:
        return self.count - len(self.rows)


def labels(read: Read, index_annotations: Mapping[str, object]) -> Labels:
    """Labels of the config, then annotations of the manifest, then of the image index."""
    config = read.config.labels if read.config else {}
    manifest = read.manifest.annotations if read.manifest else {}
    found = [
        (name, value, origin)
        for pairs, origin in (
            (config, _("Label")),
            (manifest, _("Annotation of the manifest")),
            (index_annotations, _("Annotation of the image index")),
        )
        for name, value in sorted(pairs.items())
    ]
    rows = (
        Label(shown(str(name), NAME_LENGTH), shown(str(value)), origin)
        for name, value, origin in found[:ENTRY_LIMIT]
    )
    return Labels(tuple(rows), len(found))


NAME_LENGTH = 300  # characters of a label's name


# -- how to pull ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pull:
    """One way to fetch it. A prompt is drawn before a shell command only."""

    client: str
    command: str
    is_shell: bool = True


def pulls(
    host: str,
    repository: str,
    *,
    tag: str,
    digest: str,
    kind: str,
    words: str = "",
    platform: str = "",
    image: str = "",
) -> list[Pull]:
    """The commands for this kind of content. `digest` is what the tag (may be "") names;
    `platform` and its own digest `image` are "" while the client chooses by itself."""
    name = f"{host}/{repository}"
    fixed = f"{name}@{image or digest}"
    by_name = f"{name}:{tag}" if tag else f"{name}@{digest}"
    if kind == "cache":
        return [
            Pull("Docker", f"docker buildx build --cache-from type=registry,ref={by_name} ."),
            Pull(_("By digest"), f"docker buildx build --cache-from type=registry,ref={fixed} ."),
        ]
    if kind in ("artifact", "unknown"):
        return [*_helm(name, tag, words), *_oras(by_name, fixed)]
    by_platform = platform if _PLATFORM.fullmatch(platform) else ""
    if platform and not by_platform:
        by_name = fixed  # a platform that no client can be asked for: its digest can
    option = f" --platform {by_platform}" if by_platform else ""
    return [
        Pull("Docker", f"docker pull{option} {by_name}"),
        Pull("Podman", f"podman pull{option} {by_name}"),
        Pull("containerd", f"ctr image pull{option} {by_name}"),
        Pull("Kubernetes", f"image: {by_name}", is_shell=False),
        *([Pull(_("By digest"), f"docker pull {fixed}")] if by_name != fixed else []),
    ]


# What goes into a command that people paste into a shell; an image index may say anything.
_PLATFORM = re.compile(r"[A-Za-z0-9._]+(?:/[A-Za-z0-9._]+){1,2}")


def _helm(name: str, tag: str, words: str) -> list[Pull]:
    """Helm writes the plus of a version, which a tag cannot hold, as an underscore."""
    if not tag or words != media_types.words(media_types.HELM_CONFIG):
        return []
    return [Pull("Helm", f"helm pull oci://{name} --version {tag.replace('_', '+')}")]


def _oras(by_name: str, fixed: str) -> list[Pull]:
    by_digest = [Pull(_("By digest"), f"oras pull {fixed}")] if by_name != fixed else []
    return [Pull("ORAS", f"oras pull {by_name}"), *by_digest]


# -- what refers to it ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Referrer:
    """Something attached to the image: a signature, an SBOM, a provenance …"""

    words: str
    detail: str
    digest: str
    size: int | None  # None: it is not here
    at: datetime | None
    icon: str
    is_signature: bool = False


def referrer(
    *, artifact_type: str, tag: str, digest: str, size: int, at: datetime | None
) -> Referrer:
    """A manifest whose subject is the image, or one that cosign attached by the name of a tag."""
    of_type = media_words(artifact_type)
    words = (referrer_words(tag) if tag else of_type) or of_type or _("Artifact")
    detail = _("attached by tag (cosign)") if tag else line(artifact_type)
    is_signature = is_signing(artifact_type, tag)
    icon = _icon(tag, artifact_type, is_signature=is_signature)
    return Referrer(words, detail, digest, size, at, icon, is_signature)


def is_signing(artifact_type: str, tag: str) -> bool:
    """True if this referrer is a signature; whether it is a good one is the client's to check."""
    if tag:
        return tag.endswith(".sig")
    return media_types.words(artifact_type).endswith(" signature")


def attestation(digest: str, size: int | None) -> Referrer:
    """BuildKit's: it lies in the image index beside the image."""
    detail = _("in the image index (BuildKit)")
    return Referrer(_("Build attestation"), detail, digest, size, None, _icon("", ""))


def referrer_words(tag: str) -> str:
    """What a program keeps behind a tag that names a digest; "" for a suffix we do not know."""
    suffix = tag.rpartition(".")[2] if "." in tag else ""
    return {
        "sig": _("Signature"),
        "att": _("Attestation"),
        "sbom": _("SBOM"),
        "": _("Referrers list"),
    }.get(suffix, "")


def _icon(tag: str, artifact_type: str, *, is_signature: bool = False) -> str:
    if is_signature:
        return "badge-check"
    is_bill = tag.endswith(".sbom") or "bill of materials" in media_types.words(artifact_type)
    return "scroll-text" if is_bill else "file-badge"


# -- as stored -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """Stored bytes that the raw tab can show."""

    key: str  # what ?part= says
    label: str
    digest: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Raw:
    parts: tuple[Part, ...]
    current: Part
    text: Shown
    is_json: bool


def raw(parts: Sequence[Part], wanted: str) -> Raw:
    """The wanted part, else the first, as indented JSON; as it is if it is none."""
    current = next((part for part in parts if part.key == wanted), parts[0])
    pretty = _pretty(current.data)
    text = pretty if pretty is not None else current.data.decode("utf-8", "replace")
    return Raw(tuple(parts), current, shown(text, RAW_LIMIT), pretty is not None)


def _pretty(data: bytes) -> str | None:
    """Indented JSON; None for what is none or nested too deep."""
    try:
        return json.dumps(json.loads(data), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


# -- what is wrong -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notice:
    """What is wrong with it, what that means and what to do."""

    words: str
    advice: str
    is_bad: bool = False
    is_normal: bool = False


def problem_notice(problem: str) -> Notice | None:
    """A notice for the value of Tag.problem."""
    return {
        "dangling": lambda: Notice(
            _("The registry lists this tag but has no manifest for it."),
            _("It cannot be pulled. Push the tag again, or delete it."),
            is_bad=True,
        ),
        "unreadable": lambda: Notice(
            _("The registry returns content that is not a manifest."),
            _("It cannot be pulled. Push the tag again; the registry's log may show the cause."),
            is_bad=True,
        ),
        "incomplete": lambda: Notice(
            _("Content referenced by this manifest is missing from the registry."),
            _("Pulls fail for at least some platforms. Push the image again."),
            is_bad=True,
        ),
        "broken": lambda: Notice(
            _("The integrity check found missing or damaged parts of this image."),
            _("Pulls fail. Push the image again, or delete the tag."),
            is_bad=True,
        ),
    }.get(problem, lambda: None)()


def absent_notice(count: int) -> Notice:
    """Of an image that a mirror has not pulled in full: so many of its blobs are absent."""
    words = ngettext(
        "%d blob of this image has not been pulled yet.",
        "%d blobs of this image have not been pulled yet.",
        count,
    )
    advice = _("The mirror fetches it from its upstream when a client pulls it.")
    return Notice(words % count, advice, is_normal=True)


def encrypted_notice(manifest: oci.Manifest | None) -> Notice | None:
    """Of an image that cannot be read without a key; None: it can."""
    layers = manifest.layer_blobs if manifest else ()
    count = sum(media_types.is_encrypted(one.media_type) for one in layers)
    if not count:
        return None
    words = ngettext(
        "%d layer of this image is encrypted.", "%d layers of this image are encrypted.", count
    )
    advice = _(
        "Pulling needs the private key: skopeo copy --decryption-key KEY, or a runtime that has it."
    )
    return Notice(words % count, advice, is_normal=True)


def platform_notice(
    wanted: str, chosen: Choice | None, missing: int, *, is_sparse: bool = False
) -> list[Notice]:
    """Notices of an image index: no such platform, or children that the registry does not have.
    `is_sparse`: these are not pulled yet."""
    found = []
    if wanted and chosen is not None and wanted not in (chosen.key, chosen.digest):
        found.append(
            Notice(
                _("This image index has no image for %s.") % line(wanted, 100),
                _("Showing %s instead.") % chosen.label,
            )
        )
    if is_sparse:
        if chosen is not None and not chosen.is_present:
            words = _("The image for %s has not been pulled yet.") % chosen.label
            advice = _("The mirror fetches it from its upstream when a client pulls it.")
            found.append(Notice(words, advice, is_normal=True))
    elif missing:
        words = ngettext(
            "%d image listed in this image index is missing.",
            "%d images listed in this image index are missing.",
            missing,
        )
        found.append(
            Notice(
                words % missing,
                _("Pulls fail for these platforms. Push the image again for all platforms."),
                is_bad=True,
            )
        )
    return found


def schema1_notice() -> Notice:
    return Notice(
        _("This image uses Docker's deprecated schema 1 format."),
        _("Current clients reject it. Pull and push it again with an old client, or rebuild it."),
    )
