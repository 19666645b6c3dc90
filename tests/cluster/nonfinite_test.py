"""Do all tasks of a cluster agree on a batch with a non-finite number?"""

import contextlib
import json

import pytest

from tests.cluster import cluster
from tests.cluster.cluster import Run
from trainer.order.sample_order import PADDING, SampleOrder

EXAMPLES, BATCH, STEPS, POISONED = 320, 64, 12, 77  # 5 steps an epoch.
ORDER = SampleOrder(EXAMPLES, BATCH, seed=0)
FLAGS = (
    "--config=dense_100",
    f"--config.data.train_examples={EXAMPLES}",
    f"--config.data.global_batch_size={BATCH}",
    f"--config.train.steps={STEPS}",
    "--config.train.steps_per_loop=2",
    "--config.train.checkpoint_every_steps=4",
    "--config.train.eval_every_epochs=0",
)
# The trainer, on data with one example of NaNs.
POISONED_TRAINER = f"""
import dataclasses
from trainer.data import registry
from trainer.__main__ import main

load = registry.load

def load_poisoned(config):
    dataset = load(config)
    features = dataset.train.features.copy()
    features[{POISONED}] = float("nan")
    return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, features=features))

registry.load = load_poisoned
main()
"""
SINGLE: dict[str, int] = {}
WORKERS, SERVERS = {"worker": 2}, {"chief": 1, "worker": 2, "ps": 1}


def _train(jobs, workdir, *flags):
    """The exit codes and the tasks, the leader first, after all have exited."""
    environs = [cluster.tf_config(spec) for spec in cluster.clusters(**jobs)] if jobs else [{}]
    with contextlib.ExitStack() as stack:
        tasks = [
            stack.enter_context(
                cluster.Process(
                    ["-c", POISONED_TRAINER, f"--workdir={workdir}", *FLAGS, *flags], environ
                )
            )
            for environ in environs
        ]
        return [task.wait() for task in tasks], tasks


def _steps():
    return [step for step in range(STEPS) if POISONED in ORDER.step_batch(step)]


@pytest.mark.parametrize("jobs", [WORKERS, pytest.param(SERVERS, marks=pytest.mark.long)])
def test_every_task_exits_with_2_and_the_leader_names_the_batch(jobs, tmp_path):
    codes, tasks = _train(jobs, tmp_path)
    assert codes == [2] * len(tasks), tasks[0].said
    step = _steps()[0]
    batch = ORDER.step_batch(step)
    assert f"at step {step}, on the batch of examples {batch[0]}, " in tasks[0].error
    found = json.loads((tmp_path / f"bad_batch-{step}.json").read_text())
    assert found["examples"] == batch[batch != PADDING].tolist()


@pytest.mark.parametrize("sharded", [False, True])
def test_two_workers_skip_the_batches_that_one_process_skips(sharded, tmp_path):
    """With parts of the optimizer's state they roll back, and compare, a part each."""
    flags = ("--config.train.skip_bad_batches=3", "--config.optimizer.momentum=0.9")
    own = [f"--config.sync.shard_optimizer={str(sharded).lower()}"]
    summaries = []
    for name, jobs in (("single", SINGLE), ("workers", WORKERS)):
        codes, tasks = _train(jobs, tmp_path / name, *flags, *(own if jobs else []))
        assert codes == [0] * len(tasks), tasks[0].said
        run = Run(tmp_path / name)
        manifest = max((tmp_path / name).glob("checkpoints/*/manifest.json"))
        assert json.loads(manifest.read_text())["skipped"] == _steps()
        summaries.append(run.summary)
    assert summaries[0]["steps"] == STEPS
    assert summaries[0]["weights_sha256"] == summaries[1]["weights_sha256"]


@pytest.mark.long
def test_parameter_servers_skip_a_batch_and_apply_all_others_once(tmp_path):
    codes, tasks = _train(SERVERS, tmp_path, "--config.train.skip_bad_batches=3")
    assert codes == [0, 0, 0, 0], tasks[0].said
    assert Run(tmp_path).iterations == {STEPS - len(_steps())}
    assert Run(tmp_path).summary["steps"] == STEPS
