"""Settings of garbage collection that the environment does not allow: seconds instead of hours.

portal/settings.py enforces minimums, so a hook at Python's start sets the times of the instance.
"""

from __future__ import annotations

from pathlib import Path

HOOK = '''
import sys
from datetime import timedelta
from importlib.machinery import PathFinder


class Shorter:
    """Loads portal.settings, and changes what it says."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "portal.settings":
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.UNDO_DAYS = {grace} / 86400  # a tag that went keeps its image no longer
            module.GC_GRACE = timedelta(seconds={grace})
            module.QUARANTINE_TIME = timedelta(seconds={quarantine})

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Shorter)
'''


def short_times(folder: Path, *, grace: float, quarantine: float) -> dict[str, str]:
    """The environment in which these seconds hold; `folder` is for the hook."""
    folder.mkdir()
    hook = HOOK.format(grace=grace, quarantine=quarantine)
    (folder / "sitecustomize.py").write_text(hook)
    # The same "manual only": a run that nobody asked for would come between.
    return {"PYTHONPATH": str(folder), "BOATHOUSE_GC_SCHEDULE": ""}
