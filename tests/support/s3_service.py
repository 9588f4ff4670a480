"""`python -m tests.support.s3_service PORT`: moto's S3 on that port of loopback.

Its own server looks at each request for which of a hundred services it is, and prints a line.
"""

import sys
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class Handler(MotoRequestHandler):
    """Says nothing, and keeps no answer back for a moment."""

    disable_nagle_algorithm = True

    def log_request(self, *_about: Any) -> None:
        pass


if __name__ == "__main__":
    run_simple(
        "127.0.0.1",
        int(sys.argv[1]),
        create_backend_app("s3"),
        threaded=True,
        request_handler=Handler,
    )
