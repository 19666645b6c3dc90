"""A bucket on a real S3 server, moto's, within the process of the tests."""

import functools
import urllib.parse
from collections.abc import Iterable

from tests.buckets.proxy import ProxiedBucket
from tests.buckets.served import BUCKET


class S3Bucket(ProxiedBucket):
    kind = "s3"

    def __init__(self):
        from moto.s3.models import s3_backends

        super().__init__(_server_port())
        self._backend = s3_backends["123456789012"]["aws"]
        self._backend.reset()
        self.forward("PUT", f"/{BUCKET}", {"Content-Length": "0"}, b"")

    @property
    def environ(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key-of-the-tests",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
            "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
        }

    def keys(self) -> Iterable[str]:
        return [*self._backend.buckets[BUCKET].keys]

    def read(self, name: str) -> bytes:
        return self._backend.get_object(BUCKET, name).value

    def delete(self, name: str) -> None:
        self._backend.delete_object(BUCKET, name)

    def add_unchecked(self, name: str) -> None:
        self._backend.put_object(BUCKET, urllib.parse.quote(name), b"")


@functools.cache
def _server_port() -> int:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    return server.get_host_and_port()[1]
