"""A process that writes audit rows, each in a transaction of its own; every fifth is taken back.

python -m tests.audit.writer write NAME COUNT     writes
python -m tests.audit.writer verify               prints what a walk over all rows found
"""

import json
import sys

import django
from django.db import transaction


class _TakenBack(Exception):
    pass


def write(name: str, count: int) -> None:
    from registryui import audit
    from registryui.models import RegistryUser

    for number in range(count):
        try:
            with transaction.atomic():
                RegistryUser.objects.create(name=f"{name}-{number}")
                audit.record("user.create", f"{name}-{number}", by="command line")
                if number % 5 == 4:
                    raise _TakenBack
        except _TakenBack:
            pass


def verify() -> None:
    from registryui.audit import chain, newest
    from registryui.models import AuditEvent, RegistryUser

    found = chain.verify()
    users = sorted(RegistryUser.objects.values_list("name", flat=True))
    targets = sorted(AuditEvent.objects.values_list("target", flat=True))
    last = AuditEvent.objects.order_by("-id").values_list("id", "hash").first()
    facts = {
        "rows": found.rows,
        "flaws": [[one.id, one.what] for one in found.flaws],
        "same": users == targets,
        "noted": newest.read() == [last],
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    django.setup()
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]))
    else:
        verify()
