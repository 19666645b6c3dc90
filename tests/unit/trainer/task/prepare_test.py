"""Which workdir does a task use, and what does it prepare?"""

import pytest

from strategies import choose
from strategies.cluster.spec import ClusterSpec, Task
from strategies.devices.compile_cache.cache import CompileCache
from strategies.network.security import PLAIN
from trainer.cli import parser
from trainer.config import load as config_load
from trainer.task import prepare
from trainer.task.context import TaskContext

SINGLE = ClusterSpec()
WORKERS = {"worker": ("b:1", "c:1")}
PS_JOBS = {"chief": ("a:1",), "worker": ("b:1", "c:1"), "ps": ("d:1",)}


def _task(*flags, cluster=SINGLE):
    options = parser.parse(["train", *flags])
    config = config_load.resolve(options.config, options.overrides)
    return TaskContext(
        options, config, cluster, choose.choose(cluster), CompileCache(), PLAIN, None, None
    )


@pytest.fixture
def on_a_cpu(monkeypatch):
    """TensorFlow is not asked for its devices, as that changes this process."""
    monkeypatch.setattr(prepare.for_strategy, "local_devices", lambda count, choice: ["CPU:0"])


def test_the_leader_makes_a_new_workdir_under_runs_where_none_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with prepare.own_workdir(_task()) as workdir:
        assert workdir.path.parent.name == "runs"
        assert workdir.path.name.startswith("digits_dense-")
        assert workdir.read_config().name == "digits_dense"


def test_only_the_leader_writes_the_workdir(tmp_path):
    follower = _task(
        f"--workdir={tmp_path / 'run'}", cluster=ClusterSpec(WORKERS, Task("worker", 1))
    )
    with prepare.own_workdir(follower) as workdir:
        assert workdir is None
    assert not (tmp_path / "run").exists()


def test_every_task_logs_its_examples_in_the_workdir_if_asked_to(tmp_path):
    cluster, flag = ClusterSpec(WORKERS, Task("worker", 1)), f"--workdir={tmp_path / 'run'}"
    assert prepare.examples_dir(_task(flag, cluster=cluster), None) is None
    logging = _task(flag, "--config.train.log_examples=true", cluster=cluster)
    assert prepare.examples_dir(logging, None) == tmp_path / "run"
    assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("task, loads", [(Task("chief", 0), True), (Task("ps", 0), False)])
def test_with_parameter_servers_only_the_leader_loads_data_and_nobody_compares_it(
    task, loads, on_a_cpu
):
    prepared = prepare.prepare(_task(cluster=ClusterSpec(PS_JOBS, task)))
    assert (prepared.dataset is not None) == loads
    assert prepared.fingerprint["data"] is None
    assert prepared.devices == ["CPU:0"]


def test_workers_compare_their_data_and_their_transport(on_a_cpu):
    prepared = prepare.prepare(_task(cluster=ClusterSpec(WORKERS, Task("worker", 1))))
    assert prepared.choice.transport == prepared.fingerprint["transport"] == "direct"
    assert prepared.fingerprint["data"] == prepared.dataset.fingerprint
    assert prepared.fingerprint["devices"] == 1
