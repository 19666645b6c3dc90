"""A container on Azurite, Microsoft's own server for tests: `npm install --global azurite`."""

import atexit
import base64
import email.utils
import functools
import hashlib
import hmac
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree as etree
from collections.abc import Iterable

from tests.buckets.proxy import ProxiedBucket
from tests.buckets.served import BUCKET

PROGRAM = "azurite-blob"
ACCOUNT = "devstoreaccount1"
# Not a secret: Azurite's only account has it everywhere.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class AzureBucket(ProxiedBucket):
    kind = "az"

    def __init__(self):
        super().__init__(_server_port())
        self._call("PUT", "", {"restype": "container"})
        for name in self.keys():
            self.delete(name)

    @property
    def environ(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ENDPOINT": f"{self.url}/{ACCOUNT}",
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_MSI_ENDPOINT": "http://127.0.0.1:9",
        }

    def keys(self) -> Iterable[str]:
        answer = self._call("GET", "", {"restype": "container", "comp": "list"})
        return [one.text or "" for one in etree.fromstring(answer).iter("Name")]

    def read(self, name: str) -> bytes:
        return self._call("GET", name)

    def delete(self, name: str) -> None:
        self._call("DELETE", name)

    def add_unchecked(self, name: str) -> None:
        self._call("PUT", name, headers={"x-ms-blob-type": "BlockBlob"})

    def _call(self, method: str, name: str, query=None, headers=None) -> bytes:
        """A request, signed by the account's key."""
        path = f"/{ACCOUNT}/{BUCKET}" + (f"/{urllib.parse.quote(name)}" if name else "")
        headers = {
            "x-ms-date": email.utils.formatdate(usegmt=True),
            "x-ms-version": "2021-08-06",
            **(headers or {}),
        }
        signed = [method, *[""] * 11]
        signed += [f"{key}:{headers[key]}" for key in sorted(headers)]
        signed += [f"/{ACCOUNT}{path}", *(f"{key}:{query[key]}" for key in sorted(query or {}))]
        digest = hmac.new(base64.b64decode(KEY), "\n".join(signed).encode(), hashlib.sha256)
        headers["Authorization"] = (
            f"SharedKey {ACCOUNT}:{base64.b64encode(digest.digest()).decode()}"
        )
        target = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        headers["Content-Length"] = "0"
        status, _, answer = self.forward(method, target, headers, b"")
        assert status < 300 or status == 409, (status, answer)  # 409: the container exists.
        return answer


@functools.cache
def _server_port() -> int:
    program = shutil.which(PROGRAM)
    assert program
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tempfile.TemporaryDirectory(prefix="muster-azurite-")
    process = subprocess.Popen(
        [program, f"--blobPort={port}", "--inMemoryPersistence", "--silent", "--disableTelemetry",
         "--skipApiVersionCheck"],
        cwd=folder.name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    atexit.register(_end, process, folder)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return port
        except OSError:
            assert process.poll() is None
            time.sleep(0.05)
    raise TimeoutError(f"{PROGRAM} does not listen")


def _end(process: subprocess.Popen, folder: tempfile.TemporaryDirectory) -> None:
    process.terminate()
    process.wait(30)
    folder.cleanup()
