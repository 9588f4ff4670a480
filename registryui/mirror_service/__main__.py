"""`python -m registryui.mirror_service CONFIGURATION`: serves until SIGTERM."""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from . import configuration
from .service import Server, Service


def main() -> None:
    """Runs the service."""
    os.umask(0o007)  # of the socket nginx's group, which the folder gives it, must be able to write
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(message)s")
    # SystemExit, so that the counters are written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Another process has the socket now: what was begun is answered.
    signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(target=_end_idle).start())
    told = configuration.read(Path(sys.argv[1]))
    service = Service(told)
    service.states.start()
    try:
        with Server(Path(told.socket), service) as server:
            server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        service.states.write()
        service.content.close()
        # Without waiting for requests and downloads in progress.
        logging.shutdown()
        os._exit(0)


def _end_idle() -> None:
    while Server.in_progress():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
