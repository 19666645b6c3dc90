"""Does a run survive a network that is cut and repaired?

Each worker has its own network namespace, and a switch in a third namespace connects both; that needs
root. A cut closes no connection: packets are dropped, and a peer can only notice the silence.
"""

import os
import subprocess
import time

import pytest

from strategies.cluster.spec import ClusterSpec, Task
from tests.cluster import cluster
from tests.cluster.cluster import Process, Run
from tests.faults import runs

PEER_TIMEOUT_S = 8.0
SECONDS = 20.0  # For a process to end after a task is lost.
ADDRESSES = ("10.213.0.1", "10.213.0.2")
PORT = 2222


def _ip(*args: str) -> None:
    command = ["ip", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class Network:
    """A host for each worker, `hosts[i]`, with a cable to a switch."""

    def __init__(self):
        self.hosts = [f"muster-{os.getpid()}-{place}" for place in range(len(ADDRESSES))]
        self._switch = f"muster-{os.getpid()}-switch"

    def __enter__(self):
        try:
            _ip("netns", "add", self._switch)
            _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "switch", "up")
            for place, host in enumerate(self.hosts):
                self._add(place, host)
        except OSError as error:
            self.__exit__()
            pytest.skip(f"needs network namespaces: {error}")
        return self

    def __exit__(self, *unused: object) -> None:
        for name in (*self.hosts, self._switch):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def _add(self, place: int, host: str) -> None:
        port = f"port{place}"
        _ip("netns", "add", host)
        _ip("-n", host, "link", "add", "cable", "type", "veth", "peer", "name", port)
        _ip("-n", host, "link", "set", port, "netns", self._switch)
        _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
        _ip("-n", host, "address", "add", f"{ADDRESSES[place]}/24", "dev", "cable")
        _ip("-n", host, "link", "set", "cable", "up")
        _ip("-n", host, "link", "set", "lo", "up")

    def cut(self, how: str) -> None:
        if how == "switch":  # The links of both hosts stay up.
            _ip("-n", self._switch, "link", "set", "port0", "nomaster")
        else:
            _ip("-n", self.hosts[0], "link", "set", "cable", "down")

    def repair(self) -> None:
        _ip("-n", self._switch, "link", "set", "port0", "master", "switch")
        _ip("-n", self.hosts[0], "link", "set", "cable", "up")


@pytest.fixture
def network():
    with Network() as made:
        yield made


def _workers(network: Network, workdir, *flags: str) -> list[Process]:
    """A running worker on each host. Each has its own folder, as on two machines."""
    addresses = tuple(f"{address}:{PORT}" for address in ADDRESSES)
    args = [*cluster.TRAINER, *runs.FLAGS, f"--peer_timeout_s={PEER_TIMEOUT_S}", *flags]
    return [
        Process(
            [*args, f"--workdir={workdir / str(place)}"],
            cluster.tf_config(ClusterSpec({"worker": addresses}, Task("worker", place))),
            within=("ip", "netns", "exec", host),
        )
        for place, host in enumerate(network.hosts)
    ]


@pytest.mark.parametrize(
    "how, layout",
    [
        ("switch", "2 workers"),
        pytest.param("cable", "2 workers", marks=pytest.mark.long),
        pytest.param("switch", "2 workers through TensorFlow", marks=pytest.mark.long),
    ],
)
def test_disconnected_workers_name_each_other_and_resume_once_they_are_connected(
    how, layout, rng, network, tmp_path, undisturbed
):
    flags = runs.LAYOUTS[layout].flags
    first, second = _workers(network, tmp_path, *flags)
    with first, second:
        second.await_line(f"epoch {rng.randrange(3, 20):6.2f}")
        network.cut(how)
        began = time.monotonic()
        for process, lost in ((first, "worker 1"), (second, "worker 0")):
            assert process.wait() == 75, process.said
            assert f"{lost} was lost" in process.error
        assert time.monotonic() - began < PEER_TIMEOUT_S + SECONDS
    network.repair()
    first, second = _workers(network, tmp_path, *flags)
    with first, second:
        assert first.wait() == second.wait() == 0, first.said + second.said
    assert "resuming at step" in second.said
    assert Run(tmp_path / "0").summary["weights_sha256"] == undisturbed.summary["weights_sha256"]
