"""Does a task name the peer that lives, beats and does nothing?"""

import pytest

from tests.cluster import cluster

# A worker that answers the roll call and connects as the real one would, and then stands still.
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
recipe = config_load.resolve("digits_dense", {})
choice = choose.with_transport(choose.choose(cluster), "auto", ["CPU:0"])
carried = fingerprint.compute(recipe, choice, 1, registry.load(recipe.data))
membership = roll_call.meet(cluster, carried, 100)
exchange = SocketAllReduce.connect(cluster, membership.token, 100)
print("connected", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("place", [pytest.param(0, marks=pytest.mark.long), 1])
def test_a_peer_that_takes_no_part_is_named_and_every_thread_shown(place, tmp_path):
    tasks = cluster.clusters(worker=2)
    with (
        cluster.task(tasks[place], tmp_path, "--stall_timeout_s=12") as waiting,
        cluster.Process(["-c", DEADLOCKED], cluster.tf_config(tasks[1 - place])) as deadlocked,
    ):
        deadlocked.await_line("connected")
        assert waiting.wait() == 75, waiting.said
    lines = [line for line in waiting.screen if line.startswith("muster: error: ")]
    assert lines == [
        f"muster: error: no progress for --stall_timeout_s=12 s while {_doing(place)}, waiting for "
        f"worker {1 - place}; the stacks of all threads are above; run the same command again to resume"
    ]
    assert "strategies/collectives/all_reduce.py" in waiting.said and "in _await" in waiting.said


def _doing(place: int) -> str:
    # The leader's state fits the connection, so it is sent; the other waits for it in vain.
    return "training at step 0" if place == 0 else "starting"
