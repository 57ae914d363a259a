"""A real HTTP server and a real SMTP server that keep what they are sent."""

from __future__ import annotations

import json
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def http_receiver(answers=()):
    """Yields (address, received): a list of (path, key, body). ``answers``: codes, then 200."""
    received, codes = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            code = codes.pop(0) if codes else 200
            received.append((self.path, self.headers["Idempotency-Key"], body, code))
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def smtp_receiver():
    """Yields (port, mails): the text of each mail."""
    mails = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            lines = None
            for raw in self.rfile:
                line = raw.decode().rstrip("\r\n")
                if lines is not None:
                    if line == ".":
                        mails.append("\n".join(lines))
                        lines = None
                        self.wfile.write(b"250 taken\r\n")
                    else:
                        lines.append(line)
                elif line.upper().startswith("DATA"):
                    lines = []
                    self.wfile.write(b"354 go on\r\n")
                elif line.upper().startswith("QUIT"):
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    self.wfile.write(b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], mails
        server.shutdown()
        thread.join()
