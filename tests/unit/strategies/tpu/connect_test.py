"""Is a TPU that cannot be reached reported with its cause, at once or at a deadline?"""

import contextlib
import socket
import time

import pytest

from strategies.errors import ClusterError, Resumable
from strategies.packages import exact_version
from strategies.tpu.connect import connect

_CPU = "or choose another --strategy to train without a TPU."


class _Api:
    """The part of the Cloud TPU API that TensorFlow uses, with one node."""

    def __init__(self, node):
        self._node = node

    def projects(self):
        return self

    locations = nodes = projects

    def get(self, name):
        assert name == "projects/p/locations/z/nodes/pod-1"
        return self

    def execute(self):
        if isinstance(self._node, Exception):
            raise self._node
        return self._node


def _refused(node, kind=ClusterError):
    start = time.monotonic()
    with pytest.raises(kind) as caught:
        connect("pod-1", 60, project="p", zone="z", service=_Api(node))
    assert time.monotonic() - start < 60  # Before the deadline.
    return str(caught.value)


@pytest.mark.parametrize("state", ["CREATING", "PREEMPTED", "TERMINATED"])
def test_a_named_tpu_that_is_not_ready_ends_the_run_with_a_resumable_error(state):
    assert _refused({"state": state}, Resumable) == (
        f"the TPU 'pod-1' is {state}, not READY; wait until it is, or create it again, and run the same "
        "command again"
    )


def test_a_name_that_the_api_does_not_know_is_reported():
    message = _refused(KeyError("no such node"))
    assert message.startswith("`--tpu` names a TPU that the Cloud TPU API could not look up (")
    assert "no such node" in message
    assert message.endswith(
        "Received: 'pod-1'; correct the name, or give this machine's service account the role "
        f"tpu.viewer, {_CPU}"
    )


def test_each_address_from_the_api_must_accept_a_connection_first():
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # Bound and not listening, so no other process gets the port.
        ports = [one.getsockname()[1] for one in (listening, closed)]
        ends = [{"ipAddress": "127.0.0.1", "port": port} for port in ports]
        assert _refused({"state": "READY", "networkEndpoints": ends}) == (
            f"`--tpu` got no answer from grpc://127.0.0.1:{ports[1]} ([Errno 111] Connection refused). "
            f"Received: 'pod-1'; start the TPU, {_CPU}"
        )


def test_a_metadata_server_that_never_answers_ends_the_wait_at_the_deadline(monkeypatch):
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as silent:  # Accepts connections, and sends nothing.
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("GCE_METADATA_HOST", address)
        start = time.monotonic()
        with pytest.raises(Resumable) as caught:
            connect("pod-1", 0.5)
        assert 0.5 <= time.monotonic() - start < 60  # It would be silent for ever.
        request, _ = silent.accept()
        with request:
            assert request.recv(1 << 16).startswith(b"GET /computeMetadata/v1/project/project-id ")
    assert str(caught.value) == (
        "`--tpu` names a TPU, but Google Cloud gave no answer within --startup_timeout_s=0.5 s. "
        "Received: 'pod-1'; check that this machine reaches its metadata server and tpu.googleapis.com, "
        "or give the TPU's addresses as in grpc://10.0.0.2:8470, and run the same command again"
    )


def test_no_tpu_here_is_an_error_and_never_the_cpu():
    with pytest.raises(ClusterError) as caught:
        connect("local", 60)
    error = "InternalError" if exact_version("tensorflow-tpu") else "NotFoundError"
    assert str(caught.value) == (
        f"`--tpu` could not be initialised ({error}). Received: 'local'; end the process that uses it, "
        f"or restart the TPU VM, {_CPU}"
    )
