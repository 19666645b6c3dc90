"""Does every task of a cluster that cannot start report why, in time?"""

import signal
import socket
import time

import pytest

from strategies.cluster.spec import split_address
from tests.cluster import cluster

pytestmark = pytest.mark.cold
AT_ONCE_S = 60.0  # Much more than it takes, much less than the timeout of the program.
LONG = "--startup_timeout_s=600"


@pytest.mark.parametrize("present, missing", [(0, 1), (1, 0)])
def test_a_missing_worker_is_named_within_the_timeout(present, missing, tmp_path):
    tasks = cluster.clusters(worker=2)
    address = tasks[present].address(tasks[missing].task)
    with cluster.task(tasks[present], tmp_path, "--startup_timeout_s=2") as waiting:
        waiting.await_line("data | ")
        assert waiting.wait(2 + AT_ONCE_S) == 75  # It imports TensorFlow meanwhile.
        assert f"worker {missing}" in waiting.error
        assert address in waiting.error
        assert "within 2 s" in waiting.error


def _reached_by_the_leader(address: str) -> None:
    """Returns when the leader has connected to a follower's address, without answering."""
    with socket.create_server(split_address(address)) as listener:
        listener.settimeout(cluster.PATIENCE_S)
        connection, _ = listener.accept()
        connection.close()


def _is_listening(address: str) -> bool:
    try:
        socket.create_connection(split_address(address), 1).close()
        return True
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_a_follower_at_once(number, tmp_path):
    tasks = cluster.clusters(worker=2)
    with cluster.task(tasks[0], tmp_path, LONG) as waiting:
        _reached_by_the_leader(tasks[0].address(tasks[1].task))
        waiting.send(number)
        assert waiting.wait(AT_ONCE_S) == 75
        assert f"stopped by {number.name}" in waiting.error


def test_sigterm_ends_the_wait_for_the_leader_at_once(tmp_path):
    tasks = cluster.clusters(worker=2)
    with cluster.task(tasks[1], tmp_path, LONG) as waiting:
        deadline = time.monotonic() + cluster.PATIENCE_S
        while not _is_listening(tasks[1].address(tasks[1].task)):
            assert time.monotonic() < deadline, waiting.said
            time.sleep(0.1)  # Only a connection shows that it listens.
        waiting.send(signal.SIGTERM)
        assert waiting.wait(AT_ONCE_S) == 75
        assert "SIGTERM" in waiting.error


@pytest.mark.parametrize(
    "field, mine, other",
    [("data.global_batch_size", "64", "32"), ("optimizer.learning_rate", "0.001", "0.002")],
)
def test_both_tasks_name_the_field_that_differs_and_its_values(field, mine, other, tmp_path):
    first, second = cluster.clusters(worker=2)
    with (
        cluster.task(first, tmp_path, f"--config.{field}={mine}") as leading,
        cluster.task(second, tmp_path, f"--config.{field}={other}") as following,
    ):
        assert leading.wait() == following.wait() == 2, leading.said + following.said
        assert leading.error == following.error
        assert f"`config.{field}`" in leading.error
        assert f"{mine} on worker 0, {other} on worker 1" in leading.error


@pytest.mark.long  # secret_test.py has it without training.
def test_a_task_with_another_secret_ends_with_bad_input_and_its_leader_may_be_tried_again(tmp_path):
    first, second = cluster.clusters(worker=2)
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    flags = (f"--secret_file={secret}", "--startup_timeout_s=15")
    environ = {**cluster.tf_config(second), "MUSTER_SECRET": "another secret of ours"}
    with (
        cluster.task(first, tmp_path, *flags) as leading,
        cluster.Process([*cluster.TRAINER, "--startup_timeout_s=25"], environ) as following,
    ):
        assert (leading.wait(), following.wait()) == (75, 2), leading.said + following.said
        address = second.address(second.task)
        assert f"worker 1 at {address} (" in leading.error
        assert "start it with the same --secret_file" in leading.error
        assert (
            "Received: a call to worker 1 by worker 0, the leader, from 127.0.0.1, which has an"
            in (following.error)
        )
        for output in (leading.said, following.said):
            assert output.count("warning: ") == 1  # For hundreds of calls.
            assert "it does not know the secret" in output
            assert "0123456789abcdef" not in output and "another secret of ours" not in output


RECIPE = """
import json, os
from trainer.config.schema import ExperimentConfig

if json.loads(os.environ["TF_CONFIG"])["task"] == {"type": "worker", "index": 1}:
    raise RuntimeError("no license for worker 1")

def get_config():
    return ExperimentConfig()
"""


def test_launch_ends_with_the_error_of_the_worker_that_could_not_import_its_config(tmp_path):
    recipe = tmp_path / "licensed.py"
    recipe.write_text(RECIPE)
    with cluster.launching(tmp_path / "workdir", f"--config={recipe}", LONG) as launched:
        assert launched.wait() == 2, launched.said
        last = launched.screen[-1]
        assert last.startswith("launch: worker 1 failed with exit code 2: ")
        assert f"{recipe}, line 6: RuntimeError: no license for worker 1" in last
        assert "Traceback" not in launched.said
