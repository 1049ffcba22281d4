"""What does the command line do with a server that answers just as a test says, connection by connection?"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


def access_token(number: int, session: str = "s-1") -> str:
    """An access token as the server makes them, as far as the command line reads it."""
    claims = urlsafe_b64encode(json.dumps({"sid": session, "number": number}).encode()).rstrip(b"=").decode()
    return f"e30.{claims}.c2ln"


class Asked:
    """One request, and how it is answered."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self.method, self.path = handler.command, handler.path.partition("?")[0].removeprefix("/api/v1")
        self.token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.after = handler.headers.get("Last-Event-ID")
        self._raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    @property
    def body(self) -> Any:
        return json.loads(self._raw)

    def answer(self, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        self._handler.send_response(status)
        self._handler.send_header("Content-Length", str(len(raw)))
        self._handler.end_headers()
        self._handler.wfile.write(raw)

    def stream(self, *pieces: str, whole: bool = True) -> None:
        """Server-sent events; a stream that is not `whole` breaks off behind them."""
        self._handler.send_response(200)
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()
        for piece in pieces:
            self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece.encode()), piece.encode()))
            self._handler.wfile.flush()
        if whole:
            self._handler.wfile.write(b"0\r\n\r\n")
        self._handler.close_connection = True


def output(ident: int, text: str) -> str:
    """A piece of a run's output."""
    item = {"target": "a", "step": "only", "stream": "stdout", "text": text}
    return f"id: {ident}\nevent: output\ndata: {json.dumps(item)}\n\n"


END = "event: end\ndata: {}\n\n"


@contextmanager
def answering(answer: Callable[[Asked], None], port: int = 0) -> Iterator[str]:
    """A server at this address that answers like that."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            answer(Asked(self))

        do_GET = do_POST = _do

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
