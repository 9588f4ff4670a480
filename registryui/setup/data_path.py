"""Which path a data folder may have. Needs no database: root asks before it creates the folder."""

import os
from pathlib import Path

from registryui.refused import Refused

LONGEST_PATH = 85  # bytes: a socket's path has 107, and our longest is run/sockets/manifests


def check_path(folder: Path) -> None:
    """Raises Refused if no data folder can have that path."""
    if len(os.fsencode(folder)) > LONGEST_PATH:
        raise Refused(
            f"The path of the data folder has more than {LONGEST_PATH} bytes, so no socket fits "
            f"in it: choose a shorter BOATHOUSE_DATA than {folder}."
        )
    # The path goes into nginx.conf (where $ cannot be escaped) and into a database URL.
    bad = [letter for letter in str(folder) if letter in "\"'$\\%?#;{}" or not letter.isprintable()]
    if bad:
        raise Refused(
            f"The path of the data folder, {str(folder)!r}, has the character {bad[0]!r}, which "
            "cannot be used in the configuration of nginx: choose another BOATHOUSE_DATA."
        )
