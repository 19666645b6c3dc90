"""A local server for Google Cloud Storage's JSON API, for tests.

The package gcp-storage-emulator is the storage. It lacks preconditions, which are added here: a request
that names a generation is refused if the object has another one. Tests can make the server fail.
"""

import contextlib
import functools
import io
import json
import logging
import urllib.parse
from collections.abc import Iterable
from typing import BinaryIO

from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.server import RequestHandler, Router
from gcp_storage_emulator.storage import Storage

from tests.buckets.served import BUCKET, ServedBucket

TOKEN = "a-token-of-the-tests"


class GoogleBucket(ServedBucket):
    kind = "gs"
    in_a_download = "alt=media"

    def __init__(self):
        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        super().__init__(functools.partial(_Handler, self))
        self.storage = Storage(use_memory_fs=True)
        buckets.create_bucket(BUCKET, self.storage)
        self.authorization = ""  # The header of the last request.
        self.token_status = 200  # The status for token requests, as from Google's OAuth server.

    @property
    def environ(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.url}

    def keys(self) -> Iterable[str]:
        return [
            *self.storage.objects.get(BUCKET, {})
        ]  # At once, as the server may write meanwhile.

    def read(self, name: str) -> bytes:
        return self.storage.get_file(BUCKET, name)

    def delete(self, name: str) -> None:
        self.storage.delete_file(BUCKET, name)

    def add_unchecked(self, name: str) -> None:
        self.storage.objects[BUCKET][name] = {"name": name, "generation": "1"}

    def generation(self, bucket: str, name: str) -> int:
        with contextlib.suppress(Exception):  # NotFound, of a bucket or of an object.
            return int(self.storage.get_file_obj(bucket, name)["generation"])
        return 0


class _Handler(RequestHandler):
    rfile: BinaryIO
    wfile: BinaryIO

    def __init__(self, owner: GoogleBucket, *args: object):
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
            connection, answer = self.wfile, io.BytesIO()
            self.wfile = answer
            Router(self).handle(method)
            self.wfile = connection
            if method != "GET":
                owner.note_write()
            if owner.lost_responses and method != "GET":
                owner.lost_responses -= 1
            else:
                self.wfile.write(answer.getvalue())

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
