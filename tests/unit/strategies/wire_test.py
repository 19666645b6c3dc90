"""What can be read on the wire between the tasks of a cluster? A relay between them records all bytes."""

import contextlib
import socket
import threading
import time

import numpy as np
import pytest

from strategies.collectives.all_reduce import SocketAllReduce, aligned
from strategies.network.flags import CONTROL
from strategies.network.handshake import Handshake
from strategies.network.listener import AuthenticatingListener
from strategies.network.security import PLAIN, from_secret
from tests.unit.strategies.rendezvous.tasks import (
    PATIENCE_S,
    in_threads,
    make_clusters,
    meet_later,
    watch,
)

SECRET = b"a secret of many bytes"
GRADIENTS = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
# Parts of every kind of message: introductions, the verdict, heartbeats, the end, the exchange.
MESSAGES = b'"muster" "fingerprint" worker train.seed "verdict" "beat" "exit" "done" "rank"'.split()


class Wire:
    """Carries all connections that are made through `connect`, and keeps what they carry."""

    def __init__(self, connect):
        self._connect = connect
        self._chunks: list[bytes] = []
        self._pumps: list[threading.Thread] = []
        self._ends: list[socket.socket] = []
        self.changes_next_chunk = False

    @property
    def bytes(self) -> bytes:
        return b"".join(self._chunks)

    def connect(self, address, timeout=None):
        far = self._connect(address, timeout)
        with socket.create_server(("127.0.0.1", 0)) as relay:
            near = self._connect(relay.getsockname(), timeout)
            middle, _ = relay.accept()
        far.settimeout(None)
        self._ends += [far, middle]
        for ends in ((middle, far), (far, middle)):
            self._pumps.append(threading.Thread(target=self._pump, args=ends))
            self._pumps[-1].start()
        return near

    def close(self) -> None:
        for pump in self._pumps:
            pump.join(PATIENCE_S)
        for end in self._ends:
            end.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if self.changes_next_chunk:
                    self.changes_next_chunk = False
                    chunk = chunk[:-1] + bytes([chunk[-1] ^ 1])
                self._chunks.append(chunk)
                target.sendall(chunk)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(monkeypatch):
    """The wire between all tasks of this process."""
    made = Wire(socket.create_connection)
    monkeypatch.setattr(socket, "create_connection", made.connect)
    yield made
    made.close()


def _await_beat(membership) -> None:
    heartbeat, is_heard = membership._heartbeat, threading.Event()
    handle = heartbeat._on_message

    def on_message(task, message):
        if "beat" in message:
            is_heard.set()
        handle(task, message)

    heartbeat._on_message = on_message
    assert is_heard.wait(PATIENCE_S)


def _run(secured) -> None:
    """What two workers say to each other in a run: they meet, beat, exchange gradients, and end."""
    clusters = make_clusters(worker=2)
    memberships = in_threads(*(meet_later(one, security=secured) for one in clusters))

    def train(cluster, membership):
        exchange = SocketAllReduce.connect(
            cluster, membership.run, membership.security, PATIENCE_S, shares_memory=False
        )
        with contextlib.closing(exchange), membership:
            watch(membership)
            total = aligned(GRADIENTS.size)
            exchange.sum([GRADIENTS], total)
            assert np.array_equal(total, 2 * GRADIENTS)
            _await_beat(membership)
            return membership.wait_for_all(PATIENCE_S)

    pairs = zip(clusters, memberships, strict=True)
    assert in_threads(*(lambda pair=pair: train(*pair) for pair in pairs)) == [0, 0]


@pytest.mark.parametrize(
    "secured, encrypts_messages, encrypts_gradients",
    [
        (from_secret(SECRET), True, True),
        (from_secret(SECRET, CONTROL), True, False),
        (PLAIN, False, False),
    ],
    ids=["all", "control", "no secret"],
)
def test_what_is_encrypted_cannot_be_read(wire, secured, encrypts_messages, encrypts_gradients):
    _run(secured)
    readable = [text for text in MESSAGES if text in wire.bytes]
    assert readable == ([] if encrypts_messages else MESSAGES)
    # Any 32 bytes of them, as records of TLS would cut the rest.
    gradients = GRADIENTS.tobytes()
    found = [start for start in range(0, len(gradients), 40_000)
             if gradients[start : start + 32] in wire.bytes]  # fmt: skip
    assert (found == []) == encrypts_gradients
    assert len(wire.bytes) > 2 * len(gradients)  # They did cross this wire.
    assert SECRET not in wire.bytes


def test_a_changed_byte_ends_the_connection_and_reaches_nobody(wire):
    secured = from_secret(SECRET)
    handshake = Handshake(secured, {}, lambda peer: True)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        AuthenticatingListener(listening, handshake) as listener,
    ):
        deadline = time.monotonic() + PATIENCE_S
        accepted: list = []
        accepting = threading.Thread(target=lambda: accepted.append(listener.next_caller(deadline)))
        accepting.start()
        caller = handshake.call(socket.create_connection(listening.getsockname()), deadline).link
        accepting.join(PATIENCE_S)
        called = accepted[0].link
        caller.send({"exit": 0})
        assert called.receive(deadline) == {"exit": 0}
        wire.changes_next_chunk = True
        caller.send({"exit": 0})
        with pytest.raises(EOFError):
            called.receive(deadline)
        caller.close()
        called.close()
