"""Does a run survive a network that is cut and repaired?

Each worker has a host of its own (`benchmarks/hosts.py`), which needs root. A cut closes no connection:
packets are dropped, and a peer can only notice the silence.
"""

import contextlib
import time

import pytest

from benchmarks.hosts import Hosts, HostsMissing
from strategies.cluster.spec import ClusterSpec, Task
from tests.cluster import cluster, held
from tests.cluster.cluster import Process, Run
from tests.faults import runs

PEER_TIMEOUT_S = 8.0
SECONDS = 60.0  # For a process on a busy machine to end after a task is lost.
PORT = 2222


@pytest.fixture
def network():
    with contextlib.ExitStack() as stack:
        try:
            hosts = stack.enter_context(Hosts(2))
        except HostsMissing as error:
            pytest.skip(str(error))
        yield hosts


def _workers(network: Hosts, workdir, *flags: str) -> list[Process]:
    """A running worker on each host. Each has its own folder, as on two machines."""
    addresses = tuple(f"{address}:{PORT}" for address in network.addresses)
    args = [*cluster.TRAINER, *runs.FLAGS, f"--peer_timeout_s={PEER_TIMEOUT_S}", *flags]
    return [
        Process(
            [*args, f"--workdir={workdir / str(place)}"],
            cluster.tf_config(ClusterSpec({"worker": addresses}, Task("worker", place))),
            within=tuple(network.within(place)),
        )
        for place in range(len(addresses))
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
    epoch = rng.randrange(3, 20)
    with held.before(epoch + 5) as hold:
        first, second = _workers(network, tmp_path, *flags)
        with first, second:
            second.await_line(f"epoch {epoch:6.2f}")
            network.cut(0, how)
            hold.release()
            began = time.monotonic()
            for process, lost in ((first, "worker 1"), (second, "worker 0")):
                assert process.wait() == 75, process.said
                assert f"{lost} was lost" in process.error
            assert time.monotonic() - began < PEER_TIMEOUT_S + SECONDS
    network.repair(0)
    first, second = _workers(network, tmp_path, *flags)
    with first, second:
        assert first.wait() == second.wait() == 0, first.said + second.said
    assert "resuming at step" in second.said
    assert Run(tmp_path / "0").summary["weights_sha256"] == undisturbed.summary["weights_sha256"]
