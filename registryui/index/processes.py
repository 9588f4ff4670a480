"""Reading processes: groups of tasks go out, answers come back as they are ready.

    we ── group ─► process          a process answers each group with any number of things that are
       ◄─ answer … None ──          not None, then None; to None it answers one last thing, and ends

They end with `answers`, or with this process: a pipe breaks.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from registryui.registry.errors import Unreachable

READERS = max(1, min(4, os.cpu_count() or 1))  # processes; a cold disk would like more, none else
AHEAD = 2  # groups that each has, so that none waits for us


def answers(
    serve: Callable[..., None], arguments: tuple[Any, ...], groups: Iterator[list[Any]]
) -> Iterator[Any]:
    """What READERS processes answer, each `serve(pipe, *arguments)`; last of all their last things.

    Unreachable: one of them was ended.
    """
    with _processes(serve, arguments) as pipes:
        open_groups = dict.fromkeys(pipes, 0)
        for pipe in pipes * AHEAD:
            _send(pipe, next(groups, None), open_groups)
        while busy := [pipe for pipe, count in open_groups.items() if count]:
            ready = set(wait(busy))
            for pipe in (pipe for pipe in busy if pipe in ready):
                answer = _answer(pipe)
                if answer is None:
                    open_groups[pipe] -= 1
                    _send(pipe, next(groups, None), open_groups)
                else:
                    yield answer
        for pipe in pipes:
            pipe.send(None)
            yield _answer(pipe)


def _send(pipe: Connection, group: list[Any] | None, open_groups: dict[Connection, int]) -> None:
    if group:
        pipe.send(group)
        open_groups[pipe] += 1


def _answer(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError) as error:
        raise Unreachable("a process that reads the store was ended") from error


@contextmanager
def _processes(
    serve: Callable[..., None], arguments: tuple[Any, ...]
) -> Iterator[list[Connection]]:
    """Our ends of the pipes to them. They end with this block, or with this process."""
    # Not forked: this process has threads, and locks that they hold.
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _number in range(READERS):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, *arguments), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(5)
            process.kill()
