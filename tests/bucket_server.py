"""A local server for Google Cloud Storage's JSON API, for tests.

The package gcp-storage-emulator is the storage. It lacks preconditions, which are added here: a request
that names a generation is refused if the object has another one. Tests can make the server fail.
"""

import contextlib
import functools
import io
import json
import logging
import pathlib
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http import server
from typing import BinaryIO

from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.server import RequestHandler, Router
from gcp_storage_emulator.storage import Storage

BUCKET = "muster-tests"
TOKEN = "a-token-of-the-tests"


class BucketServer:
    """A server with one empty bucket. `environ` makes Google's client use it."""

    def __init__(self):
        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        self.storage = Storage(use_memory_fs=True)
        buckets.create_bucket(BUCKET, self.storage)
        self.status = 0  # If not 0, every request is refused with this status.
        self.lost_responses = 0  # The next N writes take effect, but their responses are lost.
        self.before_request: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None
        self.authorization = ""  # The header of the last request.
        self.token_status = 200  # The status for token requests, as from Google's OAuth server.
        self.requests: list[tuple[str, str]] = []  # (method, path), in order.
        self._server = server.HTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environ(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.url}

    def names(self, folder: str) -> list[str]:
        """The names of all objects below a folder, in order."""
        found, _ = self.storage.get_file_list(BUCKET, prefix=f"{folder}/")
        return sorted(one["name"].removeprefix(f"{folder}/") for one in found)

    def read(self, name: str) -> bytes:
        return self.storage.get_file(BUCKET, name)

    def wipe(self, folder: str) -> None:
        for name in self.names(folder):
            self.storage.delete_file(BUCKET, f"{folder}/{name}")

    def add_unchecked(self, name: str) -> None:
        """Adds an object of any name, even one that the storage would refuse."""
        self.storage.objects[BUCKET][name] = {"name": name, "generation": "1"}

    def copy(self, folder: str, to: pathlib.Path) -> pathlib.Path:
        """Writes all objects below a folder to files."""
        for name in self.names(folder):
            path = to / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(f"{folder}/{name}"))
        return to

    def generation(self, bucket: str, name: str) -> int:
        with contextlib.suppress(Exception):  # NotFound, of a bucket or of an object.
            return int(self.storage.get_file_obj(bucket, name)["generation"])
        return 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(RequestHandler):
    rfile: BinaryIO

    def __init__(self, owner: BucketServer, *args: object):
        self._owner = owner
        super().__init__(owner.storage, *args)

    def _answer(self, method: str) -> None:
        owner = self._owner
        owner.requests.append((method, self.path))
        owner.authorization = self.headers.get("Authorization", "")
        owner.before_request()
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.rfile = io.BytesIO(content)
        if self.path == "/token":
            self._send_token(owner.token_status)
        elif owner.status:
            self._refuse(owner.status)
        elif not self._precondition_holds(content):
            self._refuse(412)
        else:
            if owner.lost_responses and method != "GET":
                owner.lost_responses -= 1
                self.wfile = io.BytesIO()
            Router(self).handle(method)
            if method != "GET":
                owner.after_write()

    def _precondition_holds(self, content: bytes) -> bool:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        # Only the first request of an upload in parts has a precondition to check.
        if "ifGenerationMatch" not in query or "upload_id" in query:
            return True
        bucket, _, name = url.path.partition("/b/")[2].partition("/o")
        if url.path.startswith("/upload/"):  # The name is in the JSON before the content.
            name = json.loads(content[content.index(b"{") : content.index(b"}") + 1])["name"]
        else:
            name = urllib.parse.unquote(name.removeprefix("/"))
        return self._owner.generation(bucket, name) == int(query["ifGenerationMatch"])

    def _send_token(self, status: int) -> None:
        good = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
        answer = json.dumps(good if status == 200 else {"error": "invalid_grant"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")


@contextlib.contextmanager
def serving() -> Iterator[BucketServer]:
    with BucketServer() as bucket:
        yield bucket
