"""requests over a Unix socket, whatever host a URL names."""

from __future__ import annotations

import socket
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError


class _Connection(HTTPConnection):
    def __init__(self, *arguments: Any, path: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._path = path

    def _new_conn(self) -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        try:
            one.settimeout(self.timeout)
            one.connect(self._path)
        except TimeoutError as error:
            one.close()
            raise ConnectTimeoutError(self, f"{self._path} does not answer") from error
        except OSError as error:
            one.close()
            raise NewConnectionError(self, f"{self._path}: {error}") from error
        return one


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class SocketAdapter(HTTPAdapter):
    """Sends all requests to the socket at `path`."""

    def __init__(self, path: str, *, pool_maxsize: int, **options: Any) -> None:
        super().__init__(**options)
        self._pool = _Pool("localhost", maxsize=pool_maxsize, path=path)

    def get_connection_with_tls_context(self, *_arguments: Any, **_options: Any) -> _Pool:
        return self._pool

    def close(self) -> None:
        super().close()
        self._pool.close()
