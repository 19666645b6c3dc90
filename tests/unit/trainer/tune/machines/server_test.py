"""A sweep's chief and its clients, over real connections, with all that may go wrong there."""

import collections
import concurrent.futures
import contextlib
import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from strategies.errors import ClusterError, Resumable
from strategies.network import handshake
from strategies.network.connection import JsonConnection, ProtocolError
from strategies.network.signed_channel import CHIEF, CLIENT, SignedChannel
from tests.paths import ROOT
from trainer.launch.ports import free_ports
from trainer.tune.machines import messages
from trainer.tune.machines.client import Client
from trainer.tune.machines.server import SweepServer
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec

PATIENCE_S = 20.0
SETTINGS = {"version": "1", "seed": 0, "config": {"data.global_batch_size": 64}}
KEY = b"a key of many bytes"
WON = Outcome("completed", {"test_accuracy": 0.5, "final_loss": float("inf")}, 10, 1.5, "", 2.5)

# A machine of its own: it takes a trial, and says what comes of it.
MACHINE = """
import json, sys
from strategies.errors import InputError, Resumable
from trainer.tune.search.trial_source import Progress
from trainer.tune.machines.client import Client

name, address, settings = json.loads(sys.argv[1])
try:
    with Client(name, address, settings, b"", 20, 20) as client:
        print(client.ask("0").id, flush=True)
        for line in sys.stdin:
            print(client.note(line.strip(), Progress(1, 1.0, {})), flush=True)
except (InputError, Resumable) as error:
    print(error, flush=True)
"""


class Trials:
    """A sweep of trials that ask for no values; each `ask` takes `thinks_s`."""

    def __init__(self, count, thinks_s=0.0):
        self.waiting = collections.deque(f"{number:04}" for number in range(count))
        self.runners, self.noted, self.told, self.given_back = {}, [], {}, []
        self.thinking = threading.Event()
        self.think = threading.Event()
        self._thinks_s = thinks_s
        self._lock = threading.Lock()

    @property
    def is_over(self):
        with self._lock:
            return not self.waiting and not self.runners

    def ask(self, runner):
        with self._lock:
            self.thinking.set()
            self.think.wait(self._thinks_s)
            if not self.waiting:
                return None
            trial = self.waiting.popleft()
            self.runners[trial] = runner
            return TrialSpec(trial, {"train": {"seed": 1}}, ("--workers=2",), "0000")

    def note(self, trial, progress):
        self.noted.append((trial, progress))
        return progress.step > 5

    def tell(self, trial, outcome):
        with self._lock:
            assert trial not in self.told
            del self.runners[trial]
            self.told[trial] = outcome

    def give_back(self, trial, seconds):
        with self._lock:
            del self.runners[trial]
            self.given_back.append((trial, seconds))
            self.waiting.append(trial)


class Served:
    """A chief that serves in a thread."""

    def __init__(self, search, secret=b"", peer_timeout_s=PATIENCE_S, startup_timeout_s=PATIENCE_S):
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        self.lines = queue.Queue()
        self.stop = threading.Event()
        chief = SweepServer(
            search, self.address, "", SETTINGS, secret, peer_timeout_s, self.lines.put
        )
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self.end = self._pool.submit(chief.serve, startup_timeout_s, self.stop.is_set)
        self.says(f"listens at {self.address}")

    def says(self, words):
        """Waits for a line with these words, and passes over others."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in (line := self.lines.get(timeout=deadline - time.monotonic())):
            pass
        return line

    def client(self, name="a", secret=b"", peer_timeout_s=PATIENCE_S, **options):
        settings = {**SETTINGS, **options.pop("settings", {})}
        return Client(name, self.address, settings, secret, 5.0, peer_timeout_s, **options)

    def stranger(self, name="a", secret=b""):
        """The wire of a client that was let in, on which anything can be said."""
        link = JsonConnection(socket.create_connection(address_of(self)))
        says = {"sweep": "client", "name": name, "fingerprint": SETTINGS}
        wire = SignedChannel(handshake.call(link, secret, says, soon()), CLIENT)
        assert "welcome" in wire.receive(soon())
        return wire


def soon():
    return time.monotonic() + PATIENCE_S


def address_of(chief):
    return "127.0.0.1", int(chief.address.partition(":")[2])


@pytest.fixture
def serve():
    """Starts chiefs, which are stopped after the test."""
    with contextlib.ExitStack() as stack:

        def start(*args, **options):
            chief = Served(*args, **options)
            stack.callback(chief.end.exception, PATIENCE_S)
            stack.callback(chief.stop.set)
            return chief

        yield start


@pytest.fixture
def machine():
    """Starts a client in a process of its own, which has taken a trial then."""
    with contextlib.ExitStack() as stack:

        def start(chief, name):
            told = json.dumps([name, chief.address, SETTINGS])
            process = subprocess.Popen(
                [sys.executable, "-c", MACHINE, told],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process, process.stdout.readline().strip()

        yield start


def run_all(client, runner="0"):
    """What a machine does with trials that take no time."""
    while not client.is_over:
        if assignment := client.ask(runner):
            client.tell(assignment.id, WON)
        else:
            time.sleep(0.05)  # As a machine looks after its slots.


def test_all_trials_reach_a_client_whole_and_their_outcomes_the_search(serve):
    search = Trials(3)
    chief = serve(search)
    with chief.client() as client:
        first = client.ask("0")
        assert first == TrialSpec("0000", {"train": {"seed": 1}}, ("--workers=2",), "0000")
        assert search.runners == {"0000": "a/0"}
        assert client.note("0000", Progress(5, 0.5, {"final_loss": float("nan")})) is False
        assert client.note("0000", Progress(6, 0.5, {})) is True
        assert repr(search.noted[0][1]) == repr(Progress(5, 0.5, {"final_loss": float("nan")}))
        client.tell("0000", WON)
        assert search.told == {"0000": WON}  # By the time that it returns.
        second = client.ask("a/1")
        assert search.runners == {"0001": "a/1"}
        client.give_back(second.id, 2.5)
        assert search.given_back == [("0001", 2.5)]
        run_all(client)
        assert client.ask("0") is None
    assert chief.end.result(PATIENCE_S) is None
    assert sorted(search.told) == ["0000", "0001", "0002"]


def test_every_client_hears_that_the_sweep_is_over_before_the_chief_ends(serve):
    chief = serve(Trials(1))
    with chief.client("a") as idle, chief.client("b") as busy:
        run_all(busy)
        deadline = soon()
        while not idle.is_over:  # It hears it with a beat.
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not chief.end.done()
    chief.end.result(PATIENCE_S)


def test_thirty_two_clients_share_the_trials_of_a_tuner_that_thinks_longer_than_they_wait(serve):
    # All 32 ask at first, which takes 32 x 0.06 = 1.9 s; who heard nothing for 1.5 s would be lost.
    search = Trials(40, thinks_s=0.06)
    chief = serve(search, peer_timeout_s=1.5)
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(32) as pool:
        make = [pool.submit(chief.client, f"c{n}", peer_timeout_s=1.5) for n in range(32)]
        clients = [stack.enter_context(made.result(PATIENCE_S)) for made in make]
        for done in [pool.submit(run_all, client) for client in clients]:
            done.result(PATIENCE_S)
    chief.end.result(PATIENCE_S)
    assert len(search.told) == 40 and not search.given_back


def test_a_tuner_that_thinks_for_long_holds_up_neither_beats_nor_outcomes_and_its_trial_is_not_lost(
    serve,
):
    search = Trials(1, thinks_s=PATIENCE_S)
    chief = serve(search)
    with chief.client(peer_timeout_s=1.0) as client:
        began = time.monotonic()
        while time.monotonic() - began < 2.0:
            assert client.ask("0") is None
        assert not search.runners
        search.think.set()
        run_all(client, "1")
    chief.end.result(PATIENCE_S)
    assert [*search.told] == ["0000"]


def test_what_a_client_asked_for_and_did_not_wait_for_is_given_back(serve):
    search = Trials(1, thinks_s=PATIENCE_S)
    chief = serve(search)
    client = chief.client()
    assert client.ask("0") is None
    client.close()
    search.think.set()
    assert chief.says("client a") == "client a at 127.0.0.1 takes part"
    assert chief.says("client a") == "client a at 127.0.0.1 left; trial 0000 goes to another"
    assert [trial for trial, _ in search.given_back] == ["0000"]


@pytest.mark.parametrize(
    "sign, reason",
    [(signal.SIGKILL, "its connection closed"), (signal.SIGSTOP, "not heard from for 1.5 s")],
)
def test_the_trial_of_a_lost_client_goes_to_another_in_time(serve, machine, sign, reason):
    chief = serve(Trials(1), peer_timeout_s=1.5)
    process, trial = machine(chief, "b")
    assert trial == "0000"
    with chief.client() as client:
        process.send_signal(sign)
        began = time.monotonic()
        assert chief.says("lost") == (
            f"client b at 127.0.0.1 was lost ({reason}); trial 0000 goes to another"
        )
        assert time.monotonic() - began < 1.5 + 1.5  # Nothing here waits for more than a look.
        run_all(client)
        if sign == signal.SIGSTOP:
            process.send_signal(signal.SIGCONT)
            said, _ = process.communicate("0000\n", PATIENCE_S)
            assert said == (
                f"the sweep's chief at {chief.address} was lost (not heard from for 1.5 s); run the same "
                "command again to go on.\n"
            )
    chief.end.result(PATIENCE_S)


def test_a_client_that_leaves_gives_back_what_it_has_and_may_come_back(serve):
    search = Trials(3)
    chief = serve(search)
    with chief.client() as client:
        client.ask("0")
        client.ask("1")
    left = "client a at 127.0.0.1 left; trials 0000 and 0001 go to others"
    assert chief.says("left") == left
    assert [*search.waiting] == ["0002", "0000", "0001"]
    assert 0 <= search.given_back[0][1] < PATIENCE_S
    with chief.client() as client:
        run_all(client)
    chief.end.result(PATIENCE_S)


def test_what_is_not_a_clients_own_is_neither_taken_from_it_nor_run_on(serve):
    search = Trials(2)
    chief = serve(search)
    with chief.client("a") as client, chief.client("b") as other:
        trial = other.ask("0").id
        client.tell(trial, WON)
        client.tell("unknown", WON)
        client.give_back(trial, 1.0)
        assert client.note(trial, Progress(0, 0.0, {})) is True
        assert not search.told and not search.given_back and not search.noted
        other.tell(trial, WON)
        other.tell(trial, Outcome("failed", {}))
        assert search.told == {trial: WON}


def test_settings_that_differ_are_named_on_both_sides(serve):
    chief = serve(Trials(1))
    line = (
        "`config.data.global_batch_size` must be the same on every task. Received: 64 on the chief, 128 "
        "on client a (and `tuner` differ too); give every task the same flags and packages."
    )
    with pytest.raises(ClusterError) as caught:
        chief.client(settings={"config": {"data.global_batch_size": 128}, "tuner": "grid"})
    assert str(caught.value) == line
    assert chief.says("refused") == f"a client at 127.0.0.1 was refused: {line}"
    with chief.client() as client:
        run_all(client)


@pytest.mark.parametrize("secret", [b"another key of many bytes", b""])
def test_who_does_not_know_the_secret_takes_no_part(serve, secret):
    chief = serve(Trials(1), KEY)
    with pytest.raises(ClusterError) as caught:
        chief.client(secret=secret)
    assert str(caught.value) == (
        "`--secret_file` must hold the same secret on every task. Received: none that client a shares "
        f"with the sweep's chief at {chief.address}; give every task the same file, or the same "
        "MUSTER_SECRET."
    )
    with chief.client(secret=KEY) as client:
        run_all(client)
    chief.end.result(PATIENCE_S)


def test_a_chief_whom_only_imposters_call_says_so(serve):
    chief = serve(Trials(1), KEY, startup_timeout_s=0.5)
    with pytest.raises(ClusterError):
        chief.client()
    assert str(chief.end.exception(PATIENCE_S)) == (
        "`--secret_file` must hold the same secret on every task. Received: a caller from 127.0.0.1 that "
        "does not know the secret of the sweep's chief, and no other client; give every task the same "
        "file, or the same MUSTER_SECRET."
    )


def test_a_chief_without_clients_ends_when_the_last_has_been_gone_for_long(serve):
    chief = serve(Trials(1), startup_timeout_s=1.0)
    chief.client().close()
    chief.says("left")
    left_at = time.monotonic()
    error = chief.end.exception(PATIENCE_S)
    assert time.monotonic() - left_at >= 0.9
    assert type(error) is Resumable
    assert str(error) == (
        f"the sweep's chief at {chief.address} had no client for 1 s, and trials are left; start "
        "clients, or correct the address they call, and run the same command again."
    )


def test_a_sweep_that_is_over_needs_no_client(serve):
    assert serve(Trials(0)).end.result(PATIENCE_S) is None


def test_of_two_clients_of_one_name_the_second_is_refused(serve):
    chief = serve(Trials(1), peer_timeout_s=3.0)
    with chief.client(peer_timeout_s=3.0) as client:
        with pytest.raises(ClusterError) as caught:
            chief.client()
        assert str(caught.value) == (
            "two clients of a sweep must not have one name. Received: client a at 127.0.0.1, while "
            "client a at 127.0.0.1 takes part; give each machine a --task or a "
            "KERASTUNER_TUNER_ID of its own."
        )
        run_all(client)


def test_a_client_that_is_silent_gives_way_to_one_of_its_name(serve, machine):
    chief = serve(Trials(1), peer_timeout_s=2.0)
    process, trial = machine(chief, "a")
    process.send_signal(signal.SIGSTOP)
    with chief.client() as client:
        assert chief.says("lost").endswith("; trial 0000 goes to another")
        run_all(client)
    chief.end.result(PATIENCE_S)


def test_a_stop_is_told_to_the_clients_and_gives_their_trials_back(serve):
    search = Trials(2)
    chief = serve(search)
    lost = queue.Queue()
    with chief.client(on_lost=lost.put) as client:
        client.ask("0")
        chief.stop.set()
        message = (
            f"the sweep's chief at {chief.address} was lost (it was stopped); run the same command again "
            "to go on."
        )
        assert str(lost.get(timeout=PATIENCE_S)) == message
        for call in (lambda: client.ask("0"), lambda: client.tell("0000", WON)):
            with pytest.raises(Resumable) as caught:
                call()
            assert str(caught.value) == message
    chief.end.result(PATIENCE_S)
    assert [trial for trial, _ in search.given_back] == ["0000"]
    assert lost.empty()


class Full(Trials):
    def tell(self, trial, outcome):
        raise OSError("no space left on device")


def test_an_error_of_the_search_ends_the_chief_with_that_error(serve):
    chief = serve(Full(1))
    with chief.client() as client:
        client.ask("0")
        with pytest.raises(Resumable, match=r"was lost \(it failed\)"):
            client.tell("0000", WON)
    with pytest.raises(OSError, match="no space left on device"):
        chief.end.result(PATIENCE_S)


@pytest.mark.parametrize(
    "message",
    [
        {"call": "__init__", "number": 0},
        {"call": "ask", "number": "0", "runner": "0"},
        {"call": "tell", "number": 0, "trial": [], "outcome": {}},
    ],
    ids=str,
)
def test_a_client_that_sends_what_none_sends_is_lost_and_nobody_else(serve, message):
    search = Trials(2)
    chief = serve(search)
    with chief.client("b") as friend:
        wire = chief.stranger()
        wire.send({"call": "ask", "number": 0, "runner": "0"})
        assert wire.receive(soon())["assignment"]["id"] == "0000"
        wire.send(message)
        assert chief.says("lost") == (
            "client a at 127.0.0.1 was lost (it sent what no client sends); trial 0000 goes to another"
        )
        wire.close()
        run_all(friend)
    chief.end.result(PATIENCE_S)
    assert len(search.told) == 2


@pytest.mark.parametrize(
    "read, sound, changes",
    [
        (messages.progress, Progress(1, 0.5, {"loss": 1}), {"step": [-1, True, "1", 2**63, None]}),
        (messages.progress, Progress(1, 0.5, {}), {"epoch": [-0.1, float("nan"), 10**400, "1"]}),
        (messages.progress, Progress(1, 0.5, {}), {"metrics": [[], {"a": "b"}, {"a": True}]}),
        (
            messages.progress,
            Progress(1, 0.5, {}),
            {"metrics": [dict.fromkeys(map(str, range(1001)), 0)]},
        ),
        (messages.outcome, WON, {"status": ["running", "won", None], "error": [1, None]}),
        (messages.outcome, WON, {"seconds": [-1, float("inf"), None], "metrics": [None]}),
        (
            messages.assignment,
            TrialSpec("0", {}),
            {"id": ["", ".", "..", "a/b", "a\n", "a" * 65, 1]},
        ),
        (
            messages.assignment,
            TrialSpec("0", {}),
            {"continues": ["../a", 1], "config": ["recipe.py"]},
        ),
        (
            messages.assignment,
            TrialSpec("0", {}),
            {"flags": ["--ps=1", ["evaluate"], ["--ps=1\n"]]},
        ),
        (
            messages.assignment,
            TrialSpec("0", {}),
            {"flags": [["--ps"], ["--ps=1"] * 101, [["--ps=1"]]]},
        ),
        (messages.assignment, TrialSpec("0", {}), {"flags": [["--config=/tmp/recipe.py"]]}),
        (messages.assignment, TrialSpec("0", {}), {"flags": [["--config.data.dir=/tmp"]]}),
        (
            messages.assignment,
            TrialSpec("0", {}),
            {"flags": [["--workdir=/tmp"], ["--secret_file=a"]]},
        ),
    ],
)
def test_a_message_that_is_not_as_it_must_be_is_a_strangers(read, sound, changes):
    said = json.loads(json.dumps(messages.spelled(sound)))
    assert read(said) == sound
    for name, values in changes.items():
        for value in values:
            with pytest.raises(ProtocolError):
                read({**said, name: value})
    with pytest.raises(ProtocolError):
        read([said])


def test_an_error_that_a_client_tells_does_no_harm_on_a_screen():
    assert messages.line("it \x1b[2Jfailed\n twice\r ") == "it  [2Jfailed twice"
    assert len(messages.line("a b" * 100_000)) == 1000


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b"[" * 100_000 + b"\n"])
def test_a_stranger_at_the_door_holds_up_nobody(serve, said):
    chief = serve(Trials(1))
    with socket.create_connection(address_of(chief)) as stranger, chief.client() as client:
        stranger.sendall(said)
        run_all(client)
    chief.end.result(PATIENCE_S)


class Overheard(JsonConnection):
    def __init__(self, connection):
        super().__init__(connection)
        self.sent = []

    def send(self, message):
        self.sent.append(message)
        super().send(message)


def test_what_was_said_on_a_connection_cannot_be_said_again_on_it(serve):
    search = Trials(2)
    chief = serve(search, KEY)
    link = Overheard(socket.create_connection(address_of(chief)))
    says = {"sweep": "client", "name": "a", "fingerprint": SETTINGS}
    wire = SignedChannel(handshake.call(link, KEY, says, soon()), CLIENT)
    wire.receive(soon())
    wire.send({"call": "ask", "number": 0, "runner": "0"})
    wire.receive(soon())
    link.send(link.sent[-1])
    assert chief.says("lost") == (
        "client a at 127.0.0.1 was lost (it sent what it could not prove to be its own); trial 0000 goes "
        "to another"
    )
    wire.close()


@contextlib.contextmanager
def pretender(*messages, sweep=CHIEF):
    """The address of who lets one client in, says this, and is silent then."""
    gone = threading.Event()

    def receive(listener):
        with handshake.AuthenticatingListener(listener, b"", {"sweep": sweep}) as reception:
            met = reception.next_caller(soon())
        wire = SignedChannel(met, CHIEF)
        for message in messages:
            wire.send(message)
        gone.wait(PATIENCE_S)
        wire.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=receive, args=(listener,))
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        gone.set()
        thread.join(PATIENCE_S)


WELCOME = {"welcome": True, "over": False}


def test_a_chief_that_falls_silent_is_lost_after_the_time_for_an_answer():
    lost = queue.Queue()
    with (
        pretender(WELCOME) as address,
        Client("a", address, {}, b"", PATIENCE_S, 0.5, lost.put) as client,
    ):
        loss = lost.get(timeout=PATIENCE_S)  # Though nobody called.
        assert f"chief at {address} was lost (not heard from for 0.5 s)" in str(loss)
        with pytest.raises(Resumable) as caught:
            client.ask("0")
        assert caught.value is loss


def test_a_chief_that_is_gone_is_lost_at_once_and_one_whose_sweep_is_over_is_no_loss():
    lost = queue.Queue()
    with contextlib.ExitStack() as stack:
        for over in (True, False):
            with pretender({**WELCOME, "over": over}) as address:
                client = Client("a", address, {}, b"", PATIENCE_S, PATIENCE_S, lost.put)
                stack.enter_context(client)
        assert f"chief at {address} was lost (its connection closed)" in str(
            lost.get(timeout=PATIENCE_S)
        )
    assert lost.empty()


def test_a_trial_that_would_do_more_than_train_here_is_not_run(serve):
    class Rogue(Trials):
        def ask(self, runner):
            return TrialSpec("../elsewhere", {})

    lost = pytest.raises(Resumable, match="was lost .it sent what is no trial.; run the same")
    with serve(Rogue(1)).client() as client, lost:
        client.ask("0")


def test_a_client_tells_which_chief_did_not_answer_in_time_and_why():
    with pretender(sweep="another") as address:
        free = f"127.0.0.1:{free_ports(1)[0]}"
        for place, why in ((free, "refused"), (address, "another program answers there")):
            with pytest.raises(Resumable) as caught:
                Client("a", place, {}, b"", 0.2, 1.0)
            assert str(caught.value) == (
                f"the sweep's chief at {place} did not answer within 0.2 s ({why}); start it, or correct "
                "that address, and run again."
            )


@pytest.mark.parametrize(
    "address, bind, message",
    [
        (
            "192.0.2.1:9000",
            "",
            "the address of the sweep's chief names an address this machine cannot listen on. Received: "
            "'192.0.2.1:9000'; correct it, or say with --bind where to listen.",
        ),
        (
            "127.0.0.1:9000",
            "192.0.2.1",
            "`--bind` names an address this machine cannot listen on. Received: '192.0.2.1:9000'; try "
            "--bind=0.0.0.0, for all interfaces.",
        ),
        (
            "127.0.0.1:9000",
            "http://here",
            "`--bind` must be an address of this machine. Received: 'http://here'; try 0.0.0.0, for all "
            "of them.",
        ),
    ],
)
def test_where_a_chief_cannot_listen_is_told(address, bind, message):
    chief = SweepServer(Trials(1), address, bind, {}, b"", 1.0, pytest.fail)
    with pytest.raises(ClusterError) as caught:
        chief.serve(1.0, lambda: False)
    assert str(caught.value) == message


def test_a_port_in_use_is_told(serve):
    chief = serve(Trials(1))
    second = SweepServer(Trials(1), chief.address, "", {}, b"", 1.0, pytest.fail)
    with pytest.raises(ClusterError) as caught:
        second.serve(1.0, lambda: False)
    assert str(caught.value) == (
        "the address of the sweep's chief names a port that is in use on this machine. Received: "
        f"'{chief.address}'; end the program that uses it, or choose another port."
    )


def test_a_chief_behind_another_address_listens_where_bind_says():
    lines, port = [], free_ports(1)[0]
    chief = SweepServer(Trials(0), f"192.0.2.1:{port}", "127.0.0.1", {}, KEY, 1.0, lines.append)
    chief.serve(1.0, lambda: False)
    assert lines == [f"the sweep's chief listens at 127.0.0.1:{port}"]


def test_a_chief_without_a_secret_says_so(serve):
    warned = SweepServer(
        Trials(0), f"127.0.0.1:{free_ports(1)[0]}", "", {}, b"", 1.0, (said := []).append
    )
    warned.serve(1.0, lambda: False)
    assert said[0].endswith("; no secret: whoever reaches it takes part (SECURITY.md)")
