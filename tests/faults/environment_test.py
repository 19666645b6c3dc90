"""Does any environment end in a traceback, a hang, or a `check` that says something else than `train`?

The variables of every launcher and platform, of proxies and of Keras, in random and partly broken
combinations, with TF_CONFIGs and flags. Each case runs `check` and then `train`, forked from one warm
process, with a deadline.
"""

import contextlib
import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster import cluster
from tests.faults import conftest

CASES, LONG_CASES = 30, 1000
DEADLINE_S = 200.0  # For what takes some seconds on an idle machine.
_AT_ONCE = 4
SHORT = ("--config.train.steps=2", "--startup_timeout_s=2", "--config.train.eval_every_epochs=0")

NUMBERS = ["0", "1", "2", "2", "3", "", "-1", "x", "1.5", "9" * 30]
HOSTS = [
    '["127.0.0.1"]',
    '["algo-1", "algo-2"]',
    '["localhost", "127.0.0.1"]',
    "[]",
    "{",
    "[1]",
    "null",
]
POOLS = ["workerpool0", "workerpool1", "workerpool2", "workerpool3", "worker", "chief", "ps", "x"]
VALUES = {
    **dict.fromkeys(
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMI_RANK"), NUMBERS
    ),
    **dict.fromkeys(("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "TASK_INDEX"), NUMBERS),
    **dict.fromkeys(("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "JOB_COMPLETION_INDEX"), NUMBERS),
    **dict.fromkeys(("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"), NUMBERS),
    "SLURM_STEP_NODELIST": ["localhost", "n[1-2]", "n[", ""],
    "SLURM_STEP_TASKS_PER_NODE": ["1(x2)", "2", "x", "1(x"],
    "SLURM_JOB_ID": NUMBERS,
    "SLURM_STEP_ID": NUMBERS,
    "SM_HOSTS": HOSTS,
    "SM_CURRENT_HOST": ["algo-1", "algo-2", "127.0.0.1", ""],
    "JOB_NAME": ["worker", "chief", "ps", "x", ""],
    "MASTER_ADDR": ["10.0.0.1", ""],
    "KERAS_BACKEND": ["jax", "torch", "numpy", "tensorflow", "x", ""],
    "KERAS_HOME": ["/nonexistent", "/dev/null", ""],
    "KERAS_MAX_EPOCHS": ["1", "many"],
    "TF_USE_LEGACY_KERAS": ["1", "0"],
    "http_proxy": ["http://127.0.0.1:9", "::", ""],
    "https_proxy": ["http://127.0.0.1:9"],
    "grpc_proxy": ["127.0.0.1:9", "http://["],
    "no_proxy": ["*", "localhost"],
    "TF_CONFIG": ["", "{}", "{", "[]"],
    "CLUSTER_SPEC": ["production", "{", "{}", '{"size": 2}'],
}
FLAGS = [
    "--cluster=127.0.0.1:{port}",
    "--cluster=127.0.0.1:{port},127.0.0.1:1",
    "--cluster=a",
    "--task=worker:0",
    "--task=worker:7",
    "--task=evaluator:0",
    "--ps=1",
    "--devices=2",
    "--devices=3",
    "--strategy=mirrored",
    "--strategy=parameter_server",
    "--transport=tensorflow",
    "--config.data.global_batch_size=2147483647",
    "--config.data.train_examples=100",
    "--config.data.train_examples=5000",
    "--config=dense_100",
    "--config.sync.mode=async",
    "--config.train.reduction_blocks=3",
]


def _cluster(rng, port, jobs):
    """Mostly a cluster that could run, with 0 to 3 tasks on this machine."""
    cluster_of = {
        rng.choice(jobs): rng.choice(
            [[f"127.0.0.1:{port}"], [f"127.0.0.1:{port}", "127.0.0.1:1"], []]
        )
        for _ in range(rng.randrange(3))
    }
    task = {
        "type": rng.choice([*cluster_of, "worker"]),
        "index": rng.choice([0, 0, 0, 1, "0", "x"]),
    }
    whole = {"cluster": cluster_of, "task": task}
    for key in [*whole]:
        if rng.random() < 0.15:
            del whole[key]
    return json.dumps(whole)


def _case(rng, port):
    """(environment, flags)"""
    names = rng.sample([*VALUES], rng.choice([0, 1, 2, 4, 8]))
    if rng.random() < 0.3:  # Those that belong together.
        start = rng.choice(["OMPI_", "PMI_", "SM_", "SLURM_", "WORLD_"])
        names += [name for name in VALUES if name.startswith(start)]
    environ = {name: rng.choice(VALUES[name]) for name in names}
    if rng.random() < 0.4:
        jobs = ["worker", "worker", "chief", "ps", "master", "evaluator", "wroker"]
        environ["TF_CONFIG"] = _cluster(rng, port, jobs)
    if rng.random() < 0.2:
        environ["CLUSTER_SPEC"] = _cluster(rng, port, POOLS)
    flags = [flag.format(port=port) for flag in rng.sample(FLAGS, rng.choice([0, 0, 1, 1, 2]))]
    return environ, flags


def _run(verb, environ, flags):
    with cluster.Process([*cluster.TRAINER, verb, *flags], environ) as process:
        with contextlib.suppress(AssertionError):  # It ended without this line.
            process.await_line("evaluating the checkpoints in", DEADLINE_S)
            process.send(signal.SIGTERM)  # It would wait ten minutes for the first.
        code = process.wait(DEADLINE_S)
    return code, process


def _examine(environ, flags, workdir):
    """Runs both verbs. Returns the exit code of `train`."""
    flags = [*flags, *SHORT, f"--workdir={workdir}"]
    checked, check = _run("check", environ, flags)
    assert checked in (0, 2) and "Traceback" not in check.said, check.said
    assert not workdir.exists()
    trained, train = _run("train", environ, flags)
    assert trained in (0, 2, 75), train.said
    if trained:
        assert train.error.isprintable()  # In one line, without a traceback.
    if trained == 2:
        assert checked == 2, f"`check` says ready, `train` says: {train.error}\n{check.said}"
    else:
        assert checked == 0, f"`train` ends with {trained}, `check` says:\n{check.said}"
    return trained


def test_check_and_train_agree_in_any_environment(request, rng, tmp_path):
    count = LONG_CASES if conftest.is_long(request.config) else CASES
    specs = cluster.clusters(worker=count)
    cases = [_case(rng, spec.address(spec.task).rpartition(":")[2]) for spec in specs]

    def examine(number):
        environ, flags = cases[number]
        print(f"case {number}: {environ} {flags}")  # Shown where the test fails.
        return _examine(environ, flags, tmp_path / str(number))

    codes = {examine(0)}  # From this thread, as the warm process ends with the one that starts it.
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # Most of a case is waiting.
        codes |= {*pool.map(examine, range(1, count))}
    assert {0, 2} <= codes


@pytest.mark.parametrize(
    "environ, flags, code",
    [
        ({"TF_CONFIG": '{"cluster": {}, "task": {"type": "worker", "index": 0}}'}, [], 0),
        ({}, ["--config.data.global_batch_size=2147483647"], 2),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, [], 2),
    ],
)
def test_check_and_train_agreed_once_they_were_changed(environ, flags, code, tmp_path):
    assert _examine(environ, flags, tmp_path / "run") == code
