"""The words of `./boathouse mirror …`: its arguments, and what people write for a size."""

import argparse
from typing import Any

from registryui import formats
from registryui.management.command import add_act, add_yes, path_from_caller
from registryui.management.user_arguments import days
from registryui.mirrors.presets import PRESETS


def size(text: str) -> int | None:
    """`500GB`; `never`, for no limit, as 0."""
    if text == "never":
        return 0
    found = formats.bytes_in(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"“{text}” is not a size: enter 500GB, 2TB or never.")
    return found


def limit_days(text: str) -> int:
    """As `days` of user_arguments, `never` as 0."""
    return days(text) or 0


def certificate(path: str) -> str:
    """What the file at that path holds; "" for ''."""
    try:
        return path_from_caller(path).read_text() if path else ""
    except (OSError, UnicodeError) as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read: {error}") from error


def port(text: str) -> int:
    """A port; `none` as 0."""
    if text == "none":
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise argparse.ArgumentTypeError(f"“{text}” is not a port: enter 5001 or none.")
    return int(text)


def add_to(parser: Any) -> None:
    """Every act with its arguments."""
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    add = add_act(acts, "add", "add a mirror; a preset needs no URL")
    _name(add)
    add.add_argument("url", metavar="URL", nargs="?", default="", help="such as https://quay.io")
    add.add_argument(
        "--preset",
        choices=[one.name for one in PRESETS if one.url],
        help="the upstream of that preset; without it, and without URL, NAME is the preset",
    )
    _add_fields(add)
    add_act(acts, "list", "list all mirrors")
    _name(add_act(acts, "show", "show a mirror, and how to use it"))
    change = add_act(acts, "change", "change the given fields")
    _name(change)
    change.add_argument("--url", metavar="URL", help="another address of the upstream")
    _add_fields(change)
    for name, words in {
        "enable": "ask the upstream again",
        "disable": "serve only what is stored here",
        "check": "contact the upstream now: address, certificate, login, pull limit",
    }.items():
        _name(add_act(acts, name, words))
    for name, words in {
        "pin": "never evict these tags, and keep them up to date",
        "unpin": "allow to evict them again",
    }.items():
        one = add_act(acts, name, words)
        _name(one)
        one.add_argument("what", metavar="REPOSITORY:TAG", help="patterns: library/debian:12")
    tags = add_act(acts, "tags", "list the tags of a repository at the upstream")
    _name(tags)
    tags.add_argument("repository", metavar="REPOSITORY", help="such as library/debian")
    _add_remove(acts)


def _add_remove(acts: Any) -> None:
    remove = add_act(acts, "remove", "remove a mirror")
    _name(remove)
    content = remove.add_mutually_exclusive_group()
    content.add_argument(
        "--delete-content",
        action="store_true",
        help="delete its tags first; each can be restored for a time",
    )
    content.add_argument(
        "--keep-content",
        action="store_true",
        help="its repositories become ordinary ones, into which clients can push",
    )
    add_yes(remove)


def _name(parser: Any) -> None:
    parser.add_argument("name", metavar="NAME", help="the mirror's namespace here")


def _add_fields(one: Any) -> None:
    one.add_argument("--user", metavar="NAME", help="user at the upstream; '' for none")
    one.add_argument(
        "--password-stdin",
        action="store_true",
        help="their password or token, from the first line of the input. Every registry user who "
        "may pull from NAME/* can then pull the private repositories of that account",
    )
    one.add_argument("--allow", metavar="PATTERNS", help="only these repositories: 'library/*'")
    one.add_argument("--deny", metavar="PATTERNS", help="never these repositories")
    one.add_argument(
        *("--fresh-minutes",), type=int, metavar="N", help="check a tag at most every N minutes"
    )
    one.add_argument(
        "--keep-days",
        type=limit_days,
        metavar="TIME",
        help="evict tags not pulled for 90d, 6mo, 1y; never (default) keeps them",
    )
    one.add_argument(
        "--keep-size",
        type=size,
        metavar="SIZE",
        help="evict the least recently pulled tags above 500GB; never (default) sets no limit",
    )
    one.add_argument(
        "--ca", type=certificate, metavar="FILE", help="PEM file of a CA to trust; '' for none"
    )
    one.add_argument("--proxy", metavar="URL", help="HTTP proxy to the upstream; '' for none")
    one.add_argument(
        "--library",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="nginx is library/nginx at the upstream (default: for Docker Hub)",
    )
    one.add_argument(
        "--open-port",
        type=port,
        metavar="PORT",
        help="a port for pulls without a login, for Docker's registry-mirrors; or none",
    )
    one.add_argument(
        "--networks", metavar="NETWORKS", help="that may use the open port: '10.0.0.0/8'"
    )
    one.add_argument(
        "--insecure", action="store_true", help="allow an http:// address of another machine"
    )
