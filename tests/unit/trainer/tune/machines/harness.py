"""A search without values, and servers and clients of it over real connections, for the tests here."""

import collections
import concurrent.futures
import contextlib
import queue
import socket
import threading
import time

from strategies.network import security
from strategies.network.handshake import Handshake
from strategies.network.listener import AuthenticatingListener
from trainer.launch.ports import free_ports
from trainer.tune.machines.client import Client
from trainer.tune.machines.role import CLIENT, SERVER
from trainer.tune.machines.server import SweepServer
from trainer.tune.search.trial_source import Outcome, TrialSpec

TIMEOUT_S = 60.0  # No test takes so long, and no machine is so slow.
SETTINGS = {"version": "1", "seed": 0, "config": {"data.global_batch_size": 64}}
PLAIN = security.PLAIN
SECRET = security.from_secret(b"a key of many bytes")
OUTCOME = Outcome("completed", {"test_accuracy": 0.5, "final_loss": float("inf")}, 10, 1.5, "", 2.5)


class FakeSearch:
    """A source of `count` trials, in which each `ask` takes `ask_s`, or until `may_answer` is set.

    `is_asked` is set once the first `ask` has begun.
    """

    def __init__(self, count, ask_s=0.0):
        self.queued = collections.deque(f"{number:04}" for number in range(count))
        self.runners, self.reports, self.outcomes, self.requeued = {}, [], {}, []
        self.may_answer, self.is_asked = threading.Event(), threading.Event()
        self._ask_s = ask_s
        self._lock = threading.Lock()

    @property
    def is_finished(self):
        with self._lock:
            return not self.queued and not self.runners

    def ask(self, runner):
        self.is_asked.set()
        with self._lock:
            self.may_answer.wait(self._ask_s)
            if not self.queued:
                return None
            trial_id = self.queued.popleft()
            self.runners[trial_id] = runner
            return TrialSpec(trial_id, {"train": {"seed": 1}}, ("--workers=2",), "0000")

    def report(self, trial_id, progress):
        self.reports.append((trial_id, progress))
        return progress.step > 5

    def tell(self, trial_id, outcome):
        with self._lock:
            assert trial_id not in self.outcomes
            del self.runners[trial_id]
            self.outcomes[trial_id] = outcome

    def requeue(self, trial_id, seconds):
        with self._lock:
            del self.runners[trial_id]
            self.requeued.append((trial_id, seconds))
            self.queued.append(trial_id)


class ServerThread:
    """A server in a thread. `result` is the future of its `serve`."""

    def __init__(
        self, search, secured=PLAIN, peer_timeout_s=TIMEOUT_S, startup_timeout_s=TIMEOUT_S
    ):
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        self.lines = queue.Queue()
        self.stop = threading.Event()
        self._server = SweepServer(
            search, self.address, "", SETTINGS, secured, peer_timeout_s, self.lines.put
        )
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self.result = self._pool.submit(self._server.serve, startup_timeout_s, self.stop.is_set)
        self.await_line(f"listens at {self.address}")

    def await_line(self, text):
        """Waits for a printed line with this text, and returns it."""
        until = deadline()
        while text not in (line := self.lines.get(timeout=until - time.monotonic())):
            pass
        return line

    def await_no_client(self):
        """Waits until the server has forgotten the clients that it has lost."""
        until = deadline()
        while self._server._admission.sessions():
            assert time.monotonic() < until
            time.sleep(0.01)  # No event reports it.

    def connect(self):
        """A socket that is connected to the server."""
        return socket.create_connection(("127.0.0.1", int(self.address.partition(":")[2])))

    def client(self, name="a", secured=PLAIN, peer_timeout_s=TIMEOUT_S, **options):
        settings = {**SETTINGS, **options.pop("settings", {})}
        return Client(name, self.address, settings, secured, TIMEOUT_S, peer_timeout_s, **options)

    def admitted_channel(self):
        """The channel of an admitted client "a", on which a test can send any message."""
        hello = {"sweep": CLIENT, "name": "a", "fingerprint": SETTINGS}
        channel = Handshake(PLAIN, hello, bool).call(self.connect(), deadline()).link
        assert "welcome" in channel.receive(deadline())
        return channel


@contextlib.contextmanager
def fake_server(*messages, sweep=SERVER):
    """The address of a server that admits one client, sends these messages, and then nothing."""
    finished = threading.Event()

    def admit_one(listening):
        with AuthenticatingListener(
            listening, Handshake(PLAIN, {"sweep": sweep}, bool)
        ) as listener:
            channel = listener.next_caller(deadline()).link
        for message in messages:
            channel.send(message)
        finished.wait(TIMEOUT_S)
        channel.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=admit_one, args=(listening,))
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        finished.set()
        thread.join(TIMEOUT_S)


def deadline():
    return time.monotonic() + TIMEOUT_S


def run_all(source, runner="0"):
    """Does what a machine does, with trials that take no time."""
    while not source.is_finished:
        if spec := source.ask(runner):
            source.tell(spec.id, OUTCOME)
        else:
            time.sleep(0.05)  # As a machine that polls its slots.
