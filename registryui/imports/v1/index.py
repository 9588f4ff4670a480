"""The search database of docker-registry (`search_backend: sqlalchemy`): names of repositories, to
compare with the store. It also has names of repositories that are gone.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from django.utils.translation import gettext as _

from registryui.refused import Refused

from .store import repository_name

_LONGEST = 1024  # characters of a name; its column has 95
_MOST = 1_000_000  # rows


def names(path: Path) -> frozenset[str]:
    """The repositories that it names. Refused: it is no such database."""
    # "immutable": SQLite writes nothing beside the file either, no journal and no lock.
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            database.text_factory = bytes  # not always UTF-8
            rows = database.execute("SELECT name FROM repository LIMIT ?", (_MOST,)).fetchall()
    except sqlite3.Error as error:
        raise Refused(
            _("%(path)s is not the search database of docker-registry: %(error)s.")
            % {"path": path, "error": error}
        ) from error
    found = (name[:_LONGEST].decode("utf-8", "replace") for (name,) in rows if type(name) is bytes)
    return frozenset(map(repository_name, found))
