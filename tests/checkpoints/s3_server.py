"""An S3 server on loopback (moto), and a way to make it throttle, fail, hang or drop bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_BODY = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>'
    "<Message>{code}</Message><RequestId>1</RequestId></Error>"
)


class Faults:
    """WSGI middleware: ``plan`` is asked about every request and may answer it itself."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.plan: Callable[[str, str], tuple[int, str] | float | None] = lambda method, path: None
        """(method, path) -> (status, error code) to refuse; seconds to wait first; None."""
        self.requests: list[tuple[str, str]] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        answer = self.plan(method, path)
        if isinstance(answer, tuple):
            status, code = answer
            body = _BODY.format(code=code).encode()
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            start(f"{status} {code}", headers)
            return [b""] if method == "HEAD" else [body]
        if answer is not None:
            time.sleep(answer)
        return self._app(environ, start)


@contextmanager
def s3_server(host: str = "127.0.0.1", bucket: str = "bucket") -> Iterator[tuple[str, Faults]]:
    """(endpoint, faults) of a running server with one empty bucket."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server(host, 0, faults, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        endpoint = f"http://{host}:{server.server_port}"
        import urllib.request

        urllib.request.urlopen(
            urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=30
        ).read()
        urllib.request.urlopen(
            urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"), timeout=30
        ).read()
        yield endpoint, faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
