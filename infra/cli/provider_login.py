"""How does somebody at a terminal sign in with the identity provider? In the browser of the same machine (RFC 8252 §7.3).

The browser comes back to a port of this machine with a grant, which only we can trade for tokens: the server was told the
challenge of a verifier that never leaves this process (RFC 7636).
"""

import base64
import hashlib
import secrets
import sys
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from infra.cli.client import ServerUnreachable

WITHIN_S = 300
_DONE = b"You are signed in; this window may be closed.\n"


def granted(url: str, open_browser: bool) -> tuple[str, str]:
    """The grant that a sign-in in the browser ends with, and its verifier. Raises `ServerUnreachable` after `WITHIN_S`."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with _Listening() as listening:
        asked = urlencode({"port": listening.server_port, "challenge": challenge})
        where = f"{url.rstrip('/')}/api/v1/auth/oidc/start?{asked}"
        sys.stderr.write(f"sign in with the browser of this machine: {where}\n")
        if open_browser:
            webbrowser.open(where)
        until = time.monotonic() + WITHIN_S
        while listening.grant is None:
            if (left := until - time.monotonic()) <= 0:
                raise ServerUnreachable(f"nobody signed in within {WITHIN_S} s")
            listening.timeout = left
            listening.handle_request()
        return listening.grant, verifier


class _Listening(HTTPServer):
    """Waits on a port of 127.0.0.1 that the system chose."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Back)
        self.grant: str | None = None


class _Back(BaseHTTPRequestHandler):
    timeout = 5

    def do_GET(self) -> None:
        """What the browser brings; anything but a grant is not found."""
        parts = urlsplit(self.path)
        brought = parse_qs(parts.query).get("grant", [])
        if parts.path != "/" or len(brought) != 1 or not isinstance(self.server, _Listening):
            self.send_error(404)
            return
        self.server.grant = brought[0]
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(_DONE)))
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(_DONE)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the grant stands in the path."""
