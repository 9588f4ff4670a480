"""The real nginx with nothing but auth_basic: what it takes for a user, a name and a hash."""

from __future__ import annotations

import http.client
import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registryui.setup.configuration import nginx_program
from tests.support.folders import open_folder
from tests.support.instance import wait_for
from tests.support.parts import free_port
from tests.support.waiting import LONGEST

CONFIGURATION = """
daemon off; worker_processes 1; pid "{folder}/pid"; error_log stderr alert;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off; keepalive_requests 1000000;
    client_body_temp_path "{folder}/body"; proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi"; uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    server {{
        listen 127.0.0.1:{port};
        location / {{
            auth_basic "tests"; auth_basic_user_file "{folder}/htpasswd"; try_files /none @in;
        }}
        location @in {{ return 204; }}
    }}
}}
"""


@dataclass
class BareNginx:
    """Reads `file` at every request."""

    file: Path
    connection: http.client.HTTPConnection

    def takes(self, name: str | bytes, secret: str | bytes) -> bool:
        """True if nginx lets in whoever logs in like that."""
        pair = b":".join(one.encode() if isinstance(one, str) else one for one in (name, secret))
        return self.takes_header(b"Basic " + b64encode(pair))

    def takes_header(self, authorization: bytes) -> bool:
        """The same for that header."""
        self.connection.request("GET", "/", headers={"Authorization": authorization})
        answer = self.connection.getresponse()
        answer.read()
        return answer.status == 204


@contextmanager
def bare_nginx() -> Iterator[BareNginx]:
    """One with an empty file."""
    with open_folder("nginx") as folder:
        port = free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = folder / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(folder=folder, port=port, user=user))
        (folder / "htpasswd").touch()
        process = subprocess.Popen([nginx_program(), "-c", str(configuration), "-p", str(folder)])
        try:
            wait_for(port)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)
            yield BareNginx(folder / "htpasswd", connection)
            connection.close()
        finally:
            process.terminate()
            process.wait(timeout=LONGEST)
