"""What does Google Cloud answer to a machine that looks up a TPU's name?

A metadata server and the Cloud TPU API on loopback: the part that Google's own clients use.
"""

import contextlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator

from googleapiclient import discovery_cache

_METADATA = "/computeMetadata/v1/"
_METADATA_VALUES = {
    "/": "computeMetadata/\n",
    f"{_METADATA}project/project-id": "p",
    f"{_METADATA}instance/zone": "projects/1/zones/z",
}
_ACCOUNT = {"email": "a@p", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
_TOKEN = {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}


@contextlib.contextmanager
def serving(node: dict, silent_at: str = "") -> Iterator[dict[str, str]]:
    """Serves `node` as the TPU `pod-1`; yields the environment in which TensorFlow finds the servers.

    Requests whose path begins with `silent_at` get no answer, unless it is empty.
    """
    is_over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if silent_at and self.path.startswith(silent_at):
                is_over.wait()
                return
            body = _body(self.path, self.headers["Host"], node)
            self.send_response(200 if body else 404)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header(
                "Content-Type", "application/json" if body[:1] == "{" else "text/plain"
            )
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *unused):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        names = ("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT")
        try:
            yield {
                **dict.fromkeys(names, address),
                "TPU_API_DISCOVERY_URL": f"http://{address}/discovery",
            }
        finally:
            is_over.set()
            server.shutdown()


def _body(path: str, host: str, node: dict) -> str:
    path = path.partition("?")[0]
    if path == "/discovery":
        return _discovery(f"http://{host}/")
    if path == "/v1/projects/p/locations/z/nodes/pod-1":
        return json.dumps(node)
    if path.startswith(f"{_METADATA}instance/service-accounts/"):
        return json.dumps(_TOKEN if path.endswith("/token") else _ACCOUNT)
    return _METADATA_VALUES.get(path, "")


def _discovery(root: str) -> str:
    """Google's own description of the API, with the address of this server."""
    folder = pathlib.Path(discovery_cache.__file__).parent / "documents"
    described = json.loads((folder / "tpu.v1.json").read_text())
    described |= {"rootUrl": root, "baseUrl": root, "mtlsRootUrl": root}
    return json.dumps(described)
