"""The words after `./boathouse COMMAND`: help of ours alone, one sentence for what does not fit."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

# Options of every Django command: they work, and are no part of ours.
_OF_DJANGO = ("--settings", "--pythonpath")
_FLAGS_OF_DJANGO = ("--traceback", "--no-color", "--force-color")


def program() -> str:
    """How people call it: in a clone the script, of a wheel the command."""
    return "./boathouse" if (settings.BASE_DIR / "boathouse").is_file() else "boathouse"


class Parser(CommandParser):
    """Also of acts. At a shell an error ends with 2."""

    def error(self, message: str) -> NoReturn:
        """One sentence, and where to read more; JSON for programs."""
        sentence = f"{message[:1].upper()}{message[1:]}".rstrip(".")
        sentence = f"{sentence}. {self.prog} --help shows all."
        if not self.called_from_command_line:
            raise CommandError(sentence, returncode=2)
        if "--json" in sys.argv:
            print(json.dumps({"error": sentence}))
        else:
            print(f"boathouse: {sentence}", file=sys.stderr)
        sys.exit(2)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, with a suggestion for an unknown option."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            near = suggestion(word, options_of(self)) if word.startswith("-") else ""
            self.error(f"unknown argument: {' '.join(unknown)}{near}")
        return found

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(one) for one in action.choices]
        near = suggestion(str(value), choices) or f"; choose from {', '.join(choices)}"
        name = action.metavar if isinstance(action.metavar, str) else action.dest
        raise argparse.ArgumentError(None, f"there is no {name.lower()} {value!r}{near}")


def suggestion(word: str, words: Iterable[str]) -> str:
    """`: did you mean …?` of the nearest; "" if none is near."""
    near = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean {near[0]}?" if near else ""


def parsers_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """It, and those of its acts."""
    yield parser
    for one in acts_of(parser).values():
        yield from parsers_of(one)


def acts_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name of each act to its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options_of(parser: argparse.ArgumentParser, *, is_deep: bool = True) -> list[str]:
    """The long options that help shows, with those of the acts."""
    some = parsers_of(parser) if is_deep else (parser,)
    return sorted(
        {
            name
            for one in some
            for action in one._actions
            for name in action.option_strings
            if name.startswith("--") and action.help != argparse.SUPPRESS
        }
    )


def make(command: Any, subcommand: str, **kwargs: Any) -> Parser:
    """The parser of a command, which adds its own arguments."""
    parser = Parser(
        prog=f"{program()} {subcommand}",
        description=command.help or None,
        called_from_command_line=getattr(command, "_called_from_command_line", None),
        **kwargs,
    )
    parser.add_argument(
        "-v",
        "--verbosity",
        default=1,
        type=int,
        choices=(0, 1, 2, 3),
        help=argparse.SUPPRESS,
    )
    for name in _OF_DJANGO:
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in _FLAGS_OF_DJANGO:
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    command.add_arguments(parser)
    parser.epilog = "-v shows the lines of the log, too."
    return parser


def with_verbosity(words: Sequence[str]) -> list[str]:
    """`-v` may stand anywhere, also after an act, and without a number: as a word of the command
    itself."""
    left, level = list(words), ""
    if "-v" in left:
        at = left.index("-v")
        level = left.pop(at + 1) if left[at + 1 : at + 2] in (["0"], ["1"], ["2"], ["3"]) else "2"
        del left[at]
    return [*([f"--verbosity={level}"] if level else []), *left]
