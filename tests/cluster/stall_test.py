"""Does a task name a peer that sends beats and makes no progress?"""

import pytest

from tests.cluster import cluster

# A worker that takes part in the roll call and connects as a real one does, and then does nothing.
DEADLOCKED = """
import sys, threading

from strategies import choose
from strategies.rendezvous import roll_call
from strategies.cluster import tf_config
from strategies.collectives.all_reduce import SocketAllReduce
from trainer.task import fingerprint
from trainer.config import load as config_load
from trainer.data import registry

cluster = tf_config.from_env()
mesh = sys.argv[1]
recipe = config_load.resolve("digits_dense", {"model.blocks": "2"} if mesh else {})
choice = choose.with_transport(choose.choose(cluster), "auto", ["CPU:0"])
choice = choose.with_mesh(choice, mesh, cluster, ["CPU:0"])
carried = fingerprint.compute(recipe, choice, 1, registry.load(recipe.data))
membership = roll_call.meet(cluster, carried, 100)
exchange = SocketAllReduce.connect(cluster, membership.run, membership.security, 100)
print("connected", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize(
    "place, mesh",
    [
        pytest.param(0, "", marks=pytest.mark.long),
        (1, ""),
        (0, "model:2"),
        pytest.param(1, "model:2", marks=pytest.mark.long),
    ],
)
def test_a_peer_without_progress_is_named_and_all_stacks_are_printed(place, mesh, tmp_path):
    tasks = cluster.clusters(worker=2)
    # Longer than the start, as the leader is then named as training.
    timeout = f"--stall_timeout_s={12 if place else 20}"
    flags = [f"--mesh={mesh}", "--config.model.blocks=2"] if mesh else []
    with (
        cluster.task(tasks[place], tmp_path, timeout, *flags) as waiting,
        cluster.Process(
            ["-c", DEADLOCKED, mesh], cluster.tf_config(tasks[1 - place])
        ) as deadlocked,
    ):
        deadlocked.await_line("connected")
        assert waiting.wait() == 75, waiting.said
    lines = [line for line in waiting.screen if line.startswith("muster: error: ")]
    assert lines == [
        f"muster: error: no progress for {timeout} s while {_doing(place)}, waiting for "
        f"worker {1 - place}; the stacks of all threads are above; run the same command again to resume"
    ]
    assert "strategies/collectives/all_reduce.py" in waiting.said and "in _await" in waiting.said


def _doing(place: int) -> str:
    # The leader can send its state, which fits the socket's buffer. The other never receives one.
    return "training at step 0" if place == 0 else "starting"
