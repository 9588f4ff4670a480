"""Acts on registry users in processes that can be killed at any moment: `python -m` this module.

Reads one order a line (JSON), forks a process for it that has imported everything already, and
says what came of it: {"said": …} what the act returned, null if it did not come so far;
{"killed": …} whether SIGKILL ended it.

    {"act": "off", "name": "ci"}                     let be to its end
    {"act": "off", "name": "ci", "after": 0.003}     killed after so many seconds
    {…, "line": "publish.py:99", "time": 2}          killed before that line is run for the 2nd time
    {…, "trace": true}                               says which lines of accounts/ are run
    {"act": "crowd", "processes": 8, "edits": 200}   so many processes at once
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Any

Order = dict[str, Any]
TRACED = ("/accounts/publish.py", "/accounts/users.py")


def main() -> None:
    """Serves until the orders end. The database is opened by the forked processes alone."""
    os.umask(0o077)  # as the product does
    import django

    django.setup()
    from django.db import connection

    from registryui.accounts import publish, users

    str(users.RegistryUser.objects.all().query), connection.vendor  # imports, but opens nothing
    gc.collect()
    gc.freeze()  # a fork need not copy what it does not change
    publish.prove = lambda _canary: publish.Proof(is_proved=True)  # nothing is written after that
    for line in sys.stdin:
        order = json.loads(line)
        answer = crowd(order) if order["act"] == "crowd" else serve(order)
        print(json.dumps(answer), flush=True)


def serve(order: Order) -> Order:
    ours, theirs = os.pipe()
    pid = forked(lambda: tell(theirs, run(order)))
    os.close(theirs)
    if "after" in order:
        time.sleep(order["after"])
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(ours) as pipe:
        said = pipe.read()
    status = os.waitpid(pid, 0)[1]
    failed = not said and not os.WIFSIGNALED(status)
    return {
        "said": json.loads(said) if said else None,
        "killed": os.WIFSIGNALED(status),
        "failed": failed,
    }


def crowd(order: Order) -> Order:
    def work(number: int) -> None:
        for edit in range(order["edits"]):
            name = f"user-{number}-{edit // 2}"
            if edit % 2 == 0:
                act({"act": "create", "name": name, "may": [["pull", "team/*"]]})
            elif edit % 4 == 1:
                act({"act": "rights", "name": name, "may": [["push", f"team/{number}"]]})
            else:
                act({"act": "off", "name": name})

    pids = [forked(lambda number=number: work(number)) for number in range(order["processes"])]
    return {"statuses": [os.waitpid(pid, 0)[1] for pid in pids]}


def forked(work: Callable[[], object]) -> int:
    """The process id of a fork that does that and ends."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def tell(handle: int, answer: object) -> None:
    os.write(handle, json.dumps(answer).encode())
    os.close(handle)


def run(order: Order) -> object:
    lines: list[str] = []
    if order.get("trace") or "line" in order:
        sys.settrace(tracer(lines, order.get("line", ""), order.get("time", 0)))
    said = act(order)
    sys.settrace(None)
    return lines if order.get("trace") else said


def tracer(lines: list[str], last: str, time: int) -> Callable[..., Any]:
    """Notes each line of accounts/ that is run; before `last` is, that time, it ends us."""
    left = time

    def on_line(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if event == "line":
            line = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
            lines.append(line)
            if line == last:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: FrameType, _event: str, _argument: object) -> Any:
        return on_line if frame.f_code.co_filename.endswith(TRACED) else None

    return on_call


def act(order: Order) -> object:
    """One call of registryui/accounts, as a page or command would make it."""
    from registryui.accounts import htpasswd, publish, rights, users
    from registryui.models import RegistryUser

    what, name = order["act"], order.get("name", "")
    may = rights.parse(order.get("may", []))
    if what == "catch up":
        return publish.catch_up()
    if what == "create":
        return bool(users.create(name, by="tests", may=may).secret)
    row = RegistryUser.objects.get(name=name)
    if what in ("on", "off"):
        users.set_active([row], is_active=what == "on", by="tests")
    elif what == "rights":
        users.set_rights(row, may, by="tests")
    elif what == "remove":
        users.remove([row], by="tests")
    elif what == "turn":
        # The caller must know the secret although this process may not live to tell it.
        real, given = htpasswd.new_secret, [order["secret"]]
        htpasswd.new_secret = lambda: given.pop() if given else real()
        users.rotate(row, by="tests", overlap=timedelta(hours=1))
    else:
        raise ValueError(f"no such act: {what}")
    return True


if __name__ == "__main__":
    main()
