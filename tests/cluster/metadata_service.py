"""The metadata service (IMDSv2) of a mocked EC2 instance, run inside its machine.

python metadata_service.py PROFILE: credentials of that instance profile, whose access key is the
profile's name; without PROFILE none.
"""

from __future__ import annotations

import json
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = "169.254.169.254"
_ROLES = "/latest/meta-data/iam/security-credentials"
_CREDENTIALS = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "SecretAccessKey": "test",
    "Token": "test",
    "LastUpdated": "2026-01-01T00:00:00Z",
    "Expiration": "2099-01-01T00:00:00Z",
}


class _Answer(BaseHTTPRequestHandler):
    profile = ""

    def do_PUT(self) -> None:
        self._say(200 if self.path == "/latest/api/token" else 404, "the-token")

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != "the-token":
            self._say(401)  # HttpTokens: required
        elif self.profile and self.path.rstrip("/") == _ROLES:
            self._say(200, self.profile)
        elif self.profile and self.path == f"{_ROLES}/{self.profile}":
            self._say(200, json.dumps({**_CREDENTIALS, "AccessKeyId": self.profile}))
        else:
            self._say(404)

    def _say(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


class _Server(ThreadingHTTPServer):
    request_queue_size = 100

    def server_bind(self) -> None:
        # HTTPServer asks DNS for its own name, which a machine without DNS waits for.
        socketserver.TCPServer.server_bind(self)


if __name__ == "__main__":
    _Answer.profile = "".join(sys.argv[1:])
    _Server((ADDRESS, 80), _Answer).serve_forever()
