"""A process that changes what counts.py counts, or adds up the changes.

python -m tests.support.counter write NAME COUNT    transactions; every fifth is rolled back
python -m tests.support.counter fold COUNT          each tenth time all is counted anew
python -m tests.support.counter tell                prints what is counted, and what is there
"""

import json
import sys
from dataclasses import astuple

import django
from django.db import transaction


class _TakenBack(Exception):
    pass


def write(name: str, count: int) -> None:
    from registryui.models import Repository

    own = Repository.objects.create(name=f"own/{name}", namespace="own")
    for number in range(count):
        try:
            with transaction.atomic():
                Repository.objects.filter(pk=own.pk).update(tag_count=number)
                Repository.objects.create(
                    name=f"many/{name}-{number}", namespace="many", tag_count=1
                )
                if number % 5 == 4:
                    raise _TakenBack
        except _TakenBack:
            pass


def fold(count: int) -> None:
    from registryui.index import counts

    counts.LOOSE = 3
    for number in range(count):
        if number % 10 == 9:
            counts.recount()
        else:
            counts.fold()


def tell() -> None:
    from registryui.index import counts
    from registryui.models import Repository

    tags = list(Repository.objects.values_list("tag_count", flat=True))
    print(json.dumps({"counted": astuple(counts.of_store()), "there": [len(tags), sum(tags), 0]}))


if __name__ == "__main__":
    django.setup()
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "fold":
        fold(int(sys.argv[2]))
    else:
        tell()
