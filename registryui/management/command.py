"""What all commands have in common: --json and --yes, who acts, one sentence for what is refused.

They end with 0 if it is done, 1 if it was refused or went wrong, 2 for words that do not fit
together; `search`, `status` and `up` have ends of their own, and say so.
"""

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from registryui import database_errors, space
from registryui.management import parser
from registryui.models import Operator, Run
from registryui.refused import Refused
from registryui.registry.errors import RegistryError

BY = "command line"  # who acts, in the audit log
Options = dict[str, Any]
# ./boathouse changes to its own folder, and says where it was called; children need not know.
_CALLED_IN = os.environ.pop("BOATHOUSE_CALLED_IN", "")


class Usage(CommandError):
    """Words that do not fit together; one sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, returncode=2)


class BoathouseCommand(BaseCommand):
    """A command of ./boathouse. What it raises of refusals and errors is printed as a sentence."""

    requires_system_checks: list[str] = []  # noqa: RUF012  (`./boathouse check` runs them)
    logs = False  # True: lines of the log are printed too, on stderr; with -v for every command
    as_json = False  # what was asked for
    _called_from_command_line: bool  # Django's, as opposed to `call_command`
    has_said = False  # something was printed as JSON, and a second document must not follow

    def run_from_argv(self, argv: list[str]) -> None:
        if not self.logs:
            logging.disable(logging.CRITICAL)  # what the log would say is what is printed here
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # of libraries: for us, not for those who type this
        super().run_from_argv([*argv[:2], *parser.with_verbosity(argv[2:])])

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """The parser: our options alone, one form of errors."""
        return parser.make(self, subcommand, **kwargs)

    def execute(self, *args: Any, **options: Any) -> Any:
        self.as_json = bool(options.get("json"))
        if options["verbosity"] > 1:
            logging.disable(logging.NOTSET)
        try:
            return super().execute(*args, **options)
        except BrokenPipeError:  # portal/manage.py ends quietly then
            raise
        except CommandError as error:
            self._end(error)
        except (Refused, RegistryError, DatabaseError, OSError) as error:
            self._end(CommandError(_sentence(error)), cause=error)

    def _end(self, error: CommandError, cause: Exception | None = None) -> NoReturn:
        if self.as_json and not self.has_said:
            self.stdout.write(json.dumps({"error": str(error)}))
        if not self._called_from_command_line:
            raise error from cause
        self.stderr.write(f"boathouse: {error}")
        sys.exit(error.returncode)

    def say(self, facts: Any, *lines: str) -> None:
        """Prints the facts for programs, or the lines for people."""
        if self.as_json:
            self.stdout.write(json.dumps(facts, indent=2))
            self.has_said = True
        elif lines:
            self.stdout.write("\n".join(lines))

    def confirm(self, lines: Iterable[str], *, word: str, options: Options) -> None:
        """Shows what would be done and goes on only if that word is typed, or --yes was given."""
        if options["yes"]:
            return
        if self.as_json or not sys.stdin.isatty():
            hint = ", or --dry-run to see what it would do" if "dry_run" in options else ""
            raise Usage(f"This asks for a confirmation: add --yes{hint}.")
        self.stderr.write("\n".join(lines))
        self.stderr.write(f"Enter {word} to confirm: ", ending="")
        if sys.stdin.readline().strip() != word:
            raise CommandError("Nothing was changed.")

    def progress(self, words: Callable[[Run], str]) -> Callable[[Run], None] | None:
        """What shows how far a run is, in place of the line before; None if nobody sees it."""
        if self.as_json or not sys.stderr.isatty():
            return None
        return lambda run: self.stderr.write(f"\r{words(run)}   ", ending="")


def add_json(parser: Any) -> None:
    """--json, of a command or of one of its acts."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def from_caller(text: str) -> str:
    """A file or folder of the command line: a relative one is relative to where the command was
    called. "", "-" and URLs stay."""
    if text in ("", "-") or "://" in text:
        return text
    return str(Path(_CALLED_IN, Path(text).expanduser()).absolute())


def path_from_caller(text: str) -> Path:
    """The same as a path."""
    return Path(from_caller(text))


def add_source(parser: Any) -> None:
    """--source, of what reads all of the registry."""
    parser.add_argument(
        "--source",
        choices=("http", "store"),
        default="",
        help="ask the registry, or read its store (default: BOATHOUSE_SOURCE)",
    )


def add_yes(parser: Any) -> None:
    """--yes, for `confirm`."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def add_act(acts: Any, name: str, words: str) -> Any:
    """The parser of an act: `./boathouse user add`."""
    parser = acts.add_parser(name, help=words, description=words)
    add_json(parser)
    return parser


def find_operator(name: str) -> Operator:
    """The operator of that name. Refused if there is none."""
    row = Operator.objects.filter(username=name).first()
    if row is None:
        raise Refused(f"There is no operator {name}: ./boathouse operator list shows all.")
    return row


def given_password(options: Options) -> str:
    """The password on the input, "" if none is given. An empty line is a mistake."""
    if not options["password_stdin"]:
        return ""
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise Refused("The input contains no password.")
    return password


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Within it a SIGTERM ends the work as Ctrl-C does: cleanly."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _sentence(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    if words := space.advice(error) or database_errors.sentence(error):
        return words
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, DatabaseError):
        return f"The database is unavailable ({reason})."
    if isinstance(error, PermissionError):
        return f"{reason}: run it as the user that runs ./boathouse."
    return reason
