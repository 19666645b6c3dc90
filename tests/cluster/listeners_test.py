"""On which addresses does a task listen, and for how long? SECURITY.md states these results."""

import pathlib
import time

from strategies.cluster.spec import ClusterSpec, split_address
from tests.cluster import cluster

LONG = ("--config.train.steps=1000000", "--config.train.eval_every_epochs=0")
LOOPBACK, EVERYWHERE = "0100007F", {"0" * 8, "0" * 32}  # As /proc/net/tcp and tcp6 write them.
_LISTENS = "0A"


def _listening(spec: ClusterSpec) -> set[str]:
    """The local addresses on which a process listens at a task's port."""
    port = split_address(spec.address(spec.task))[1]
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            host, _, local_port = local.partition(":")
            if state == _LISTENS and int(local_port, 16) == port:
                found.add(host)
    return found


def test_a_task_listens_on_its_own_address_and_only_until_the_roll_call_ends(tmp_path):
    first, second = cluster.clusters(worker=2)
    with cluster.task(second, tmp_path, *LONG) as waiting:
        deadline = time.monotonic() + cluster.PATIENCE_S
        while not (found := _listening(second)):
            assert time.monotonic() < deadline, waiting.said
            time.sleep(0.1)  # There is no event for another process's listener.
        assert found == {LOOPBACK}
        with cluster.task(first, tmp_path, *LONG) as leading:
            leading.await_line("epoch   1.00")
            assert _listening(first) == _listening(second) == set()


def test_tensorflows_servers_listen_on_all_interfaces_during_the_run(tmp_path):
    tasks = cluster.clusters(chief=1, worker=1, ps=1)
    chief, worker, server = tasks
    with (
        cluster.task(server, tmp_path, *LONG),
        cluster.task(worker, tmp_path, *LONG),
        cluster.task(chief, tmp_path, *LONG) as coordinating,
    ):
        coordinating.await_line("epoch   1.00")
        for task in tasks:
            assert _listening(task) and _listening(task) <= EVERYWHERE, task
