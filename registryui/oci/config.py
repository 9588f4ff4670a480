"""What an image config says: how to run it, and the steps that built it.

More tolerant than manifest.py: missing values or those of a wrong type are left empty, because many
programs write configs, and they are only shown.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .untrusted import LIST_LIMIT, keys, moment, read_object, text, text_map, texts

_NAME_LIMIT = 64  # characters of os, architecture, variant


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the history. Without an `instruction` it is not from a Dockerfile."""

    created: datetime | None = None
    instruction: str = ""  # upper case
    arguments: str = ""
    comment: str = ""
    is_empty: bool = False  # changed only the config: it has no layer


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The config of an image. Missing values are empty."""

    created: datetime | None = None
    author: str = ""
    os: str = ""
    architecture: str = ""
    variant: str = ""
    env: tuple[str, ...] = ()  # NAME=value
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    ports: tuple[str, ...] = ()  # 80/tcp
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    healthcheck: tuple[str, ...] = ()  # ("CMD-SHELL", "curl …"), ("NONE",)
    history: tuple[Step, ...] = ()  # from the base up
    diff_ids: tuple[str, ...] = ()


def parse_config(raw: bytes, *, with_history: bool = True) -> ImageConfig:
    """The image config in `raw`; ValueError only if it is no JSON object of up to 4 MiB.

    Without the history it takes a third of the time.
    """
    found = read_object(raw)
    if not with_history:
        found.pop("history", None)
    return _config(found)


def schema1_config(history: Sequence[str]) -> ImageConfig:
    """The config that schema 1 spreads over its layers (`Manifest.schema1_history`).

    Each layer carries its own JSON; the newest also tells how to run the image. Layers that changed
    nothing are in the list of layers too, so no step counts as empty here.
    """
    layers = [_object_or_empty(line) for line in history]
    newest = dict(layers[-1]) if layers else {}
    newest["history"] = [
        {
            "created": layer.get("created"),
            "created_by": _schema1_command(layer),
            "comment": layer.get("comment"),
        }
        for layer in layers
    ]
    return _config(newest)


def pair_layers(config: ImageConfig, layer_count: int) -> list[tuple[int | None, Step]]:
    """Every step with the index of its layer, None for steps without one; in history order.

    A history that is missing or does not fit still gives each layer exactly once: steps left over
    have no layer, layers left over a blank step.
    """
    pairs: list[tuple[int | None, Step]] = []
    layer = 0
    for step in config.history:
        has_layer = not step.is_empty and layer < layer_count
        pairs.append((layer if has_layer else None, step))
        layer += has_layer
    pairs.extend((index, Step()) for index in range(layer, layer_count))
    return pairs


def dockerfile(config: ImageConfig) -> str:
    """The history written as a Dockerfile, one step a line, "" if there is none.

    Only the last stage is known, and files by what the builder wrote: for reading, not for
    building.
    """
    return "".join(f"{_line(step)}\n" for step in config.history)


def _line(step: Step) -> str:
    if not step.instruction:
        return "# " + " ".join((step.arguments or step.comment or "?").split())
    if step.instruction == "RUN":
        commands = (part.strip(" \t") for part in step.arguments.split("&&"))
        return "RUN " + " \\\n    && ".join(commands)
    # A line break here is no here-document: kept apart, so that one step stays one line.
    return f"{step.instruction} {step.arguments}".rstrip().replace("\n", "\\n")


def _config(found: dict[str, Any]) -> ImageConfig:
    run = _object(found.get("config"))
    rootfs = _object(found.get("rootfs"))
    return ImageConfig(
        created=moment(found.get("created")),
        author=text(found.get("author")),
        os=text(found.get("os"), limit=_NAME_LIMIT),
        architecture=text(found.get("architecture"), limit=_NAME_LIMIT),
        variant=text(found.get("variant"), limit=_NAME_LIMIT),
        env=texts(run.get("Env")),
        cmd=_command(run.get("Cmd")),
        entrypoint=_command(run.get("Entrypoint")),
        labels=text_map(run.get("Labels")),
        user=text(run.get("User")),
        working_dir=text(run.get("WorkingDir")),
        ports=keys(run.get("ExposedPorts")),
        volumes=keys(run.get("Volumes")),
        stop_signal=text(run.get("StopSignal")),
        healthcheck=texts(_object(run.get("Healthcheck")).get("Test")),
        history=_history(found.get("history")),
        diff_ids=texts(rootfs.get("diff_ids")),
    )


def _history(value: object) -> tuple[Step, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(_step(item) for item in value[:LIST_LIMIT] if isinstance(item, dict))


def _step(item: dict[str, Any]) -> Step:
    instruction, arguments = parse_step(text(item.get("created_by")))
    return Step(
        created=moment(item.get("created")),
        instruction=instruction,
        arguments=arguments,
        comment=text(item.get("comment")),
        is_empty=item.get("empty_layer") is True,
    )


# Bounded on purpose, with no `\S*`: the text is up to 65,536 characters of anybody's choice.
_SHELL = re.compile(
    r"(?<![^ ])(?:"
    r"(?:/(?:usr/)?(?:local/)?s?bin/)?(?:ba|da|z|a|k)?sh"
    r"(?: -[a-zA-Z]{1,9}| pipefail){0,6} -[a-z]{0,4}c "
    r"|cmd(?:\.exe)? /[sS] ?/[cC] "
    r"|(?:powershell|pwsh)(?:\.exe)? -[cC]ommand "
    r")"
)
_NOP = re.compile(r"#\(nop\) {0,4}")
_BUILD_ARGUMENTS = re.compile(r"\|[0-9]{1,4} ")
_FLAG = re.compile(r"--(?:mount|network|security|device)=[^ ]{1,4096} ")
_INSTRUCTION = re.compile(
    "ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL"
    "|MAINTAINER|ONBUILD|RUN|SHELL|STOPSIGNAL|USER|VOLUME|WORKDIR"
)


def parse_step(created_by: str) -> tuple[str, str]:
    """Instruction and arguments of one `created_by`; ("", the text) if no Dockerfile wrote it.

    Docker's old builder: `/bin/sh -c #(nop)  CMD ["sh"]`, `|1 A=b /bin/sh -c make` (build
    arguments). BuildKit: `CMD ["sh"]`, `RUN |1 A=b /bin/sh -c make # buildkit`.
    """
    line = created_by.strip().removesuffix("# buildkit").rstrip()
    if _BUILD_ARGUMENTS.match(line):
        return "RUN", _without_shell(line)
    if shell := _SHELL.match(line):
        rest = line[shell.end() :].lstrip(" ")
        nop = _NOP.match(rest)
        return _instruction(rest[nop.end() :]) if nop else ("RUN", rest)
    return _instruction(line)


def _instruction(line: str) -> tuple[str, str]:
    name, _, arguments = line.partition(" ")
    if _INSTRUCTION.fullmatch(name) is None:
        return "", line
    arguments = arguments.strip()
    return name, _without_shell(arguments) if name == "RUN" else arguments


def _without_shell(command: str) -> str:
    """The command itself: flags stay, build arguments and the shell in front of it go.

    Build arguments are not quoted and may hold blanks, so the first shell ends them.
    """
    flags = ""
    while flag := _FLAG.match(command, len(flags)):
        flags += flag[0]
    command = command[len(flags) :].lstrip(" ")
    find = _SHELL.search if _BUILD_ARGUMENTS.match(command) else _SHELL.match
    shell = find(command)
    return flags + (command[shell.end() :].lstrip(" ") if shell else command)


def _schema1_command(layer: dict[str, Any]) -> str:
    return " ".join(texts(_object(layer.get("container_config")).get("Cmd")))


def _object_or_empty(line: str) -> dict[str, Any]:
    try:
        return read_object(line.encode("utf-8", "replace"))
    except ValueError:
        return {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _command(value: object) -> tuple[str, ...] | None:
    return texts(value) if isinstance(value, list) else None
