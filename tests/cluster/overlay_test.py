"""Do two workers train over an encrypted overlay, or with a secret, without a readable byte on the wire?

This is the setup of SECURITY.md: two network namespaces are the two machines, a pair of veth devices is
the untrusted network between them, and WireGuard is the overlay.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from strategies.cluster.spec import ClusterSpec, Task
from tests.cluster import cluster

WIRE, OVERLAY = ("10.201.77.1", "10.201.77.2"), ("10.202.77.1", "10.202.77.2")
PORT, UDP_PORT = 2222, 51820
SECRET = "a secret that both know"
FLAGS = ("--config.train.epochs=1", "--config.train.eval_every_epochs=0")
# Parts of the messages of the roll call, and of the workers that connect for the exchange.
PLAIN = (b'"muster"', b'"fingerprint"', b'"verdict"', b'"rank"', b"optimizer.learning_rate")

# Listens as a TensorFlow server does; and a client that connects to it at each of the given addresses.
LISTEN = """
import socket, sys, threading

with socket.create_server(("0.0.0.0", int(sys.argv[1]))):
    print("listening", flush=True)
    threading.Event().wait()
"""
KNOCK = """
import socket, sys

for host, patience_s in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
    try:
        socket.create_connection((host, int(sys.argv[1])), float(patience_s)).close()
        print(host, "answers", flush=True)
    except TimeoutError:
        print(host, "does not answer", flush=True)
"""

# At SIGTERM it still writes what has arrived.
CAPTURE = """
import signal, socket, sys

ended = []
signal.signal(signal.SIGTERM, lambda *unused: ended.append(True))
SO_RCVBUFFORCE = 33  # No message is dropped because this process has to wait for a core.

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
    wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 27)
    wire.settimeout(0.1)
    wire.bind((sys.argv[1], 0))
    print("capturing", flush=True)
    with open(sys.argv[2], "wb", buffering=0) as file:
        while True:
            try:
                file.write(wire.recv(1 << 17))
            except TimeoutError:
                if ended:
                    break
"""


def _run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Machine:
    """A network namespace with one end of the wire, and later of the overlay."""

    def __init__(self, place: int):
        self.place = place
        self.name = f"muster-{os.getpid()}-{place}"
        self.wire = f"mw{os.getpid()}-{place}"
        self.overlay = f"mo{os.getpid()}-{place}"

    def inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def ip(self, *arguments: str) -> None:
        _run("ip", "-n", self.name, *arguments)


@pytest.fixture
def machines():
    """Two machines with a wire between them. Both are deleted after the test."""
    if os.geteuid() != 0:
        pytest.skip("making network namespaces needs root")
    if not shutil.which("ip"):
        pytest.skip("making network namespaces needs `ip`, from the package iproute2")
    pair = [Machine(place) for place in range(2)]
    with contextlib.ExitStack() as stack:
        try:
            for machine in pair:
                _run("ip", "netns", "add", machine.name)
                stack.callback(_run, "ip", "netns", "delete", machine.name)  # With its devices.
            _join(*pair)
        except AssertionError as error:
            pytest.skip(f"no network namespaces can be made here: {error}")
        yield pair


def _join(first: Machine, second: Machine) -> None:
    _run(
        *("ip", "link", "add", first.wire, "netns", first.name, "type", "veth"),
        *("peer", "name", second.wire, "netns", second.name),
    )
    for machine in (first, second):
        machine.ip("address", "add", f"{WIRE[machine.place]}/24", "dev", machine.wire)
        for device in ("lo", machine.wire):
            machine.ip("link", "set", device, "up")


@contextlib.contextmanager
def _overlay(machines: list[Machine], folder: pathlib.Path):
    """WireGuard between the machines: the implementation in Go, which needs no kernel module."""
    missing = [name for name in ("wireguard-go", "wg") if not shutil.which(name)]
    if missing or not pathlib.Path("/dev/net/tun").exists():
        pytest.skip(f"no WireGuard here: lacks {' and '.join(missing) or '/dev/net/tun'}")
    private = [_run("wg", "genkey") for _ in machines]
    public = [_run("wg", "pubkey", stdin=key) for key in private]
    with contextlib.ExitStack() as stack:
        for machine in machines:
            me, other = machine.place, 1 - machine.place
            _start_wireguard(machine, stack)
            key = folder / f"key-{me}"
            key.write_text(private[me])
            _run(
                *machine.inside("wg", "set", machine.overlay, "listen-port", str(UDP_PORT)),
                *("private-key", str(key), "peer", public[other]),
                *("allowed-ips", f"{OVERLAY[other]}/32", "endpoint", f"{WIRE[other]}:{UDP_PORT}"),
            )
            machine.ip("address", "add", f"{OVERLAY[me]}/24", "dev", machine.overlay)
            machine.ip("link", "set", machine.overlay, "up")
        yield


def _start_wireguard(machine: Machine, stack: contextlib.ExitStack) -> None:
    process = subprocess.Popen(
        machine.inside("wireguard-go", "--foreground", machine.overlay),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    deadline = time.monotonic() + 30
    control = pathlib.Path(f"/var/run/wireguard/{machine.overlay}.sock")
    while not control.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.skip(f"wireguard-go does not run here (exit code {process.poll()})")
        time.sleep(0.05)  # Its start is not reported otherwise.


def _allow_only_the_overlay(machine: Machine) -> None:
    """The firewall of SECURITY.md."""
    for rule in (
        "add table inet muster",
        "add chain inet muster input { type filter hook input priority 0; policy accept; }",
        f'add rule inet muster input tcp dport {PORT} iifname != {{ "{machine.overlay}", "lo" }} drop',
    ):
        _run(*machine.inside("nft", rule))


def _captured(
    machines: list[Machine], addresses: tuple[str, str], folder: pathlib.Path, secret: str = ""
) -> bytes:
    """All bytes on the wire while two workers trained to the end with these addresses."""
    jobs = {"worker": tuple(f"{address}:{PORT}" for address in addresses)}
    file = folder / "captured"
    with contextlib.ExitStack() as stack:
        capture = ["-c", CAPTURE, machines[0].wire, str(file)]
        watcher = stack.enter_context(cluster.Process(capture, within=machines[0].inside()))
        watcher.await_line("capturing")
        workers = [
            stack.enter_context(
                cluster.Process(
                    [*cluster.TRAINER, f"--workdir={folder / 'run'}", *FLAGS],
                    {
                        **cluster.tf_config(ClusterSpec(jobs, Task("worker", machine.place))),
                        "MUSTER_SECRET": secret,
                    },
                    within=machine.inside(),
                )
            )
            for machine in machines
        ]
        for worker in workers:
            assert worker.wait() == 0, worker.said
        watcher.send(signal.SIGTERM)
        assert watcher.wait() == 0, watcher.said
    return file.read_bytes()


@pytest.mark.parametrize("secret", ["", SECRET], ids=["no secret", "secret"])
def test_without_an_overlay_only_a_secret_makes_the_messages_unreadable(machines, secret, tmp_path):
    captured = _captured(machines, WIRE, tmp_path, secret)
    assert [text for text in PLAIN if (text in captured) == bool(secret)] == []
    assert SECRET.encode() not in captured


def test_over_the_overlay_no_message_is_readable_on_the_wire(machines, tmp_path):
    with _overlay(machines, tmp_path):
        for machine in machines if shutil.which("nft") else ():
            _allow_only_the_overlay(machine)
        captured = _captured(machines, OVERLAY, tmp_path)
    gradients = cluster.Run(tmp_path / "run").summary["steps"] * 100_000 * 4
    assert len(captured) > gradients  # They did cross this wire.
    assert [text for text in PLAIN if text in captured] == []


def test_the_firewall_accepts_the_port_only_on_the_overlay(machines, tmp_path):
    if not shutil.which("nft"):
        pytest.skip("the firewall needs `nft`, from the package nftables")
    first, second = machines
    with (
        _overlay(machines, tmp_path),
        cluster.Process(["-c", LISTEN, str(PORT)], within=second.inside()) as listening,
    ):
        listening.await_line("listening")
        for result, patience_s in (("answers", 60), ("does not answer", 3)):
            hosts = (WIRE[1], str(patience_s), OVERLAY[1], "60")
            with cluster.Process(
                ["-c", KNOCK, str(PORT), *hosts], within=first.inside()
            ) as knocking:
                assert knocking.wait() == 0, knocking.said
                assert knocking.screen == [f"{WIRE[1]} {result}", f"{OVERLAY[1]} answers"]
            _allow_only_the_overlay(second)
