"""Do only tasks that know the secret take part, whatever strangers send?"""

import contextlib
import subprocess
import sys
import threading
import time

import pytest

from strategies.errors import ClusterError
from strategies.network import handshake
from strategies.network.connection import JsonConnection
from tests.unit.strategies.rendezvous.tasks import (
    PATIENCE_S,
    all_met,
    connected,
    in_threads,
    make_clusters,
    meet_later,
    watch,
)

SECRET, OTHER = b"a secret of many bytes", b"another of many bytes too"


def test_strangers_do_not_delay_the_roll_call():
    first, second = make_clusters(worker=2)
    host, port = second.address(second.task).split(":")
    noises = [b"", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"\xff\n", b"x" * (2 << 20)]
    noises += [b'{"muster": "hello"}\n', b'{"muster": "hello", "nonce": "0', b"[" * 9999]
    hello = b'{"muster": "hello", "nonce": "0"}\n'
    noises += [hello, hello + b"{}\n", hello + b'{"introduction": {}, "proof": "\\ud800"}\n']
    noises += [hello + b'{"introduction": ' + b'{"a":' * 900 + b"0" + b"}" * 900 + b"}\n"]
    noises += [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]  # As TensorFlow's own client begins.
    with contextlib.ExitStack() as stack:
        met = []
        waiting = threading.Thread(target=lambda: met.append(meet_later(second)()))
        waiting.start()
        for noise in noises * 10:
            stranger = stack.enter_context(connected(host, int(port)))
            with contextlib.suppress(OSError):
                stranger.sendall(noise)
        met.append(meet_later(first)())
        waiting.join(PATIENCE_S)
        assert len(met) == 2
        for membership in met:
            membership.close()


def test_tasks_that_share_a_secret_meet_and_have_a_token_of_their_own():
    clusters = make_clusters(worker=3)
    memberships = in_threads(*(meet_later(one, secret=SECRET) for one in clusters))
    with all_met(make_clusters(worker=2)) as (without, _):
        tokens = {membership.token for membership in memberships}
        assert len(tokens) == 1 and without.token not in tokens
    for membership in memberships:
        membership.close()


@pytest.mark.parametrize("theirs", [OTHER, b""])
def test_all_tasks_name_the_one_that_does_not_know_the_secret_and_end_with_bad_input(theirs):
    first, second, third = make_clusters(worker=3)
    errors = in_threads(
        meet_later(first, timeout_s=2, secret=SECRET),
        meet_later(second, timeout_s=4, secret=SECRET),
        meet_later(third, timeout_s=4, secret=theirs),
    )
    assert [type(error) for error in errors] == 3 * [ClusterError]
    message = (
        "`--secret_file` must hold the same secret on every task. Received: {}; give every task the "
        "same file, or the same MUSTER_SECRET."
    )
    address = third.address(third.task)
    known = message.format(f"worker 2 at {address} does not know the secret of worker 0")
    unknown = message.format(
        "a caller from 127.0.0.1 that does not know the secret of worker 2, and no call from worker "
        "0, the leader"
    )
    assert [str(error) for error in errors] == [known, known, unknown]


def test_a_lost_task_that_returns_without_the_secret_is_rejected():
    clusters = make_clusters(chief=1, worker=2, ps=1)
    chief, first, *others = in_threads(*(meet_later(one, secret=SECRET) for one in clusters))
    reports = watch(chief)
    first.close()
    reports.get(timeout=PATIENCE_S)
    chief.reconnect(clusters[1].task)
    with pytest.raises(ClusterError, match="does not know the secret of worker 0"):
        meet_later(clusters[1], timeout_s=3, secret=OTHER)()
    meet_later(clusters[1], secret=SECRET)().close()
    for membership in (chief, *others):
        membership.close()


def test_only_the_leader_can_start_the_run():
    first, second = make_clusters(worker=2)
    outcomes = []
    waiting = threading.Thread(target=lambda: outcomes.extend(in_threads(meet_later(second))))
    waiting.start()
    host, port = second.address(second.task).split(":")
    with connected(host, int(port)) as other:
        introduction = {"task": ["worker", 1], "fingerprint": {}, "remaining_s": 60}
        connection = handshake.call(
            JsonConnection(other), b"", introduction, time.monotonic() + PATIENCE_S
        )
        connection.send({"verdict": "go", "run": "0"})
        assert other.recv(1) == b""
    meet_later(first)().close()
    waiting.join(PATIENCE_S)
    outcomes[0].close()


FLOOD = """
import socket, sys

address = ("127.0.0.1", int(sys.argv[1]))
print("flooding", flush=True)
held = []
while True:
    try:
        held.append(socket.create_connection(address, 1))
        held[-1].sendall(b'{"muster": "hello", "nonce": "0"}\\n'[: 40 * (len(held) % 2)])
    except OSError:
        pass
    if len(held) > 300:
        held.pop(0).close()
"""


def test_a_flood_of_connections_does_not_prevent_a_start():
    first, second = make_clusters(worker=2)
    port = second.address(second.task).split(":")[1]
    command = [sys.executable, "-c", FLOOD, port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood:
        assert flood.stdout.readline() == "flooding\n"
        met = in_threads(meet_later(second, secret=SECRET), meet_later(first, secret=SECRET))
        flood.kill()
    for membership in met:
        membership.close()
