"""`./boathouse completion`: what makes the shell complete commands, acts and options."""

import shlex
from typing import Any

from django.core.management import get_commands, load_command_class

from registryui.management import parser as words
from registryui.management.command import BoathouseCommand

# Of the script ./boathouse alone, or of `manage`.
_OF_SCRIPT = ("bench", "check", "lock", "manage", "test", "wheel")
_OF_MANAGE = ("hosts", "tls", "units")

_SCRIPT = """\
# Completion of boathouse for bash and zsh. In ~/.bashrc or ~/.zshrc:
#   source <(./boathouse completion bash)     source <(boathouse completion zsh)
{zsh}_boathouse() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" typed="" words="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${{COMP_WORDS[i]}}" in
            -*) ;;
            *) typed="$typed${{COMP_WORDS[i]}} " ;;
        esac
    done
    case "$typed" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _boathouse boathouse
"""
_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


class Command(BoathouseCommand):
    help = (
        "Prints what completes commands, acts and options. For bash, add to ~/.bashrc: "
        "source <(./boathouse completion bash)"
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh"), help="bash or zsh")

    def handle(self, *args: Any, **options: Any) -> None:
        zsh = _ZSH if options["shell"] == "zsh" else ""
        self.stdout.write(_SCRIPT.format(zsh=zsh, cases="\n".join(_cases())), ending="")


def command_names() -> list[str]:
    """The commands of ./boathouse that are ours; not those of `manage`."""
    ours = (name for name, app in get_commands().items() if app == "registryui")
    return sorted(name for name in ours if name not in _OF_MANAGE)


def _cases() -> list[str]:
    """What may follow the words that were typed, the longest first."""
    found: dict[str, list[str]] = {"": [*command_names(), *_OF_SCRIPT, "--help", "--version"]}
    for name in command_names():
        parser = load_command_class("registryui", name).create_parser("boathouse", name)
        _add_words(found, f"{name} ", parser)
    rows = sorted(found.items(), key=lambda one: -one[0].count(" "))
    return [
        f"        {_pattern(typed)}) words={shlex.quote(' '.join(some))} ;;" for typed, some in rows
    ]


def _pattern(typed: str) -> str:
    return f"{shlex.quote(typed)}*" if typed else "''"


def _add_words(found: dict[str, list[str]], typed: str, parser: Any) -> None:
    acts = words.acts_of(parser)
    found[typed] = [*sorted(acts), *_choices(parser), *words.options_of(parser, is_deep=False)]
    for name, one in acts.items():
        _add_words(found, f"{typed}{name} ", one)


def _choices(parser: Any) -> list[str]:
    """Words of positional arguments, such as the parts of `restart`."""
    return [
        str(one)
        for action in parser._actions
        if action.choices and not action.option_strings and not isinstance(action.choices, dict)
        for one in action.choices
    ]
