"""What do tests need of a bucket on a server of this machine?

They look at its objects without the program's own clients, and let requests fail or be lost.
"""

import abc
import pathlib
import threading
from collections.abc import Callable, Iterable
from http import server

BUCKET = "muster-tests"


class ServedBucket(abc.ABC):
    """One empty bucket, while it is entered. `environ` makes the program use it."""

    kind: str  # The scheme of its address.
    in_a_download: str  # Part of the path of a request that reads an object, or "" for any.
    in_a_list: tuple[str, ...] = ()  # Parts of the path of a request that lists objects.
    serving: type[server.HTTPServer] = server.HTTPServer

    def __init__(self, handler: Callable[..., server.BaseHTTPRequestHandler]):
        self.status = 0  # If not 0, every request is refused with this status.
        self.lost_responses = 0  # The next N writes take effect, but their responses are lost.
        self.before_request: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None  # Before the client has its response.
        self.requests: list[tuple[str, str]] = []  # (method, path), in order.
        self._failed: list[
            BaseException
        ] = []  # What `after_write` has raised, as an assertion does.
        self._server = self.serving(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    @abc.abstractmethod
    def environ(self) -> dict[str, str]: ...

    @abc.abstractmethod
    def keys(self) -> Iterable[str]:
        """The names of all objects."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes: ...

    @abc.abstractmethod
    def delete(self, name: str) -> None: ...

    @abc.abstractmethod
    def add_unchecked(self, name: str) -> None:
        """Adds an empty object of any name."""

    def note_write(self) -> None:
        """For the handler, once a write has taken effect and before its response is sent."""
        try:
            self.after_write()
        except BaseException as error:
            self._failed.append(error)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def folder_url(self) -> str:
        return f"{self.kind}://{BUCKET}"

    @property
    def downloads(self) -> int:
        """The number of objects that were read."""
        return sum(
            method == "GET"
            and self.in_a_download in path
            and not any(part in path for part in self.in_a_list)
            for method, path in self.requests
        )

    def names(self, folder: str) -> list[str]:
        """The names of all objects below a folder, in order."""
        prefix = f"{folder}/"
        return sorted(one.removeprefix(prefix) for one in self.keys() if one.startswith(prefix))

    def wipe(self, folder: str) -> None:
        for name in self.names(folder):
            self.delete(f"{folder}/{name}")

    def copy(self, folder: str, to: pathlib.Path) -> pathlib.Path:
        """Writes all objects below a folder to files."""
        for name in self.names(folder):
            path = to / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(f"{folder}/{name}"))
        return to

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for error in self._failed:
            raise error
