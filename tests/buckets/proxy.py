"""A proxy in front of a real server of buckets, for tests: it lets them see, fail and lose requests."""

import contextlib
import http.client
from http import server

from tests.buckets.served import ServedBucket


class ProxiedBucket(ServedBucket):
    """A bucket on a server at `port` of this machine, behind a proxy."""

    in_a_download = ""
    in_a_list = ("list-type=", "comp=list")
    serving = server.ThreadingHTTPServer  # The clients keep their connections open.

    def __init__(self, port: int):
        super().__init__(type("_Bound", (_Handler,), {"owner": self}))
        self.code = ""  # Of a refused request, in XML as S3 and Azure write it.
        self.dropped_header = ""  # As if the server did not know this header.
        self._upstream_port = port

    def forward(self, method: str, path: str, headers: dict[str, str], content: bytes):
        """The server's status, headers and content."""
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream_port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, content, headers)
            with connection.getresponse() as response:
                return response.status, response.getheaders(), response.read()


class _Handler(server.BaseHTTPRequestHandler):
    owner: ProxiedBucket
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        owner, method = self.owner, self.command
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        owner.requests.append((method, self.path))
        owner.before_request()
        if owner.status:
            answer = f"<Error><Code>{owner.code}</Code></Error>" if owner.code else ""
            return self._send(owner.status, [], answer.encode())
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("connection", owner.dropped_header.lower())
        }
        status, answered, body = owner.forward(method, self.path, headers, content)
        is_write = method in ("PUT", "POST", "DELETE")
        if is_write and status < 300:
            owner.note_write()
        if is_write and owner.lost_responses:
            owner.lost_responses -= 1
            self.close_connection = True
        else:
            self._send(status, answered, body)
        return None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        given = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "keep-alive"):
                self.send_header(name, value)
        if "content-length" not in given:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # A client that was killed.
            super().handle()
