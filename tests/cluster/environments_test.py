"""Do processes train together that a platform or launcher started, and despite proxies?"""

import json

import pytest

from tests.cluster import cluster
from trainer.launch import ports

FLAGS = ("--config.train.steps=20", "--config.train.steps_per_loop=5")
NO_PROXY_LISTENS = "http://127.0.0.1:9"


@pytest.mark.cold
def test_proxies_and_keras_settings_change_nothing(tmp_path):
    """TensorFlow's gRPC would send the workers' traffic to the proxy, and Keras compute in float64."""
    (tmp_path / "keras.json").write_text('{"floatx": "float64", "backend": "torch"}')
    environ = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), NO_PROXY_LISTENS)
    environ |= {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"}
    flags = [*FLAGS, "--transport=tensorflow", f"--workdir={tmp_path / 'run'}"]
    launch = [*cluster.TRAINER, "launch", "--workers=2", "--max_restarts=0", "--", *flags]
    run = cluster.finished(cluster.Process(launch, environ), tmp_path / "run")
    assert run.summary["test_loss"] == pytest.approx(0.5726, abs=1e-3)  # As without all this.


def _ended(processes):
    codes = [process.wait() for process in processes]
    assert codes == [0] * len(codes), "\n".join(process.said for process in processes)


def test_the_ranks_of_a_launcher_are_the_tasks_of_the_listed_cluster(tmp_path):
    addresses = ",".join(spec.address(spec.task) for spec in cluster.clusters(worker=2))
    args = [*cluster.TRAINER, *FLAGS, f"--workdir={tmp_path}", f"--cluster={addresses}"]
    ranks = [{"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": str(rank)} for rank in range(2)]
    with cluster.Process(args, ranks[0]) as first, cluster.Process(args, ranks[1]) as second:
        second.await_line(
            "worker 1 in a cluster of 2 workers (from --cluster, task from OMPI_COMM_WORLD"
        )
        _ended([first, second])
    assert cluster.Run(tmp_path).summary["strategy"] == "multi_worker"


@pytest.mark.long
def test_the_instances_of_a_sagemaker_job_train_together(tmp_path):
    hosts = ["127.0.0.1", "127.0.0.2"]
    args = [*cluster.TRAINER, *FLAGS, f"--workdir={tmp_path}"]
    environs = [{"SM_HOSTS": json.dumps(hosts), "SM_CURRENT_HOST": host} for host in hosts]
    with cluster.Process(args, environs[0]) as first, cluster.Process(args, environs[1]) as second:
        _ended([first, second])
    assert "(from SageMaker)" in first.said


@pytest.mark.long
def test_the_pools_of_a_vertex_job_train_together(tmp_path):
    chief, worker = ports.free_ports(2)
    pools = {"workerpool0": [f"127.0.0.1:{chief}"], "workerpool1": [f"127.0.0.1:{worker}"]}
    args = [*cluster.TRAINER, *FLAGS, f"--workdir={tmp_path}"]
    tasks = [{"type": pool, "index": 0, "trial": "1"} for pool in pools]
    environs = [
        {"CLUSTER_SPEC": json.dumps({"cluster": pools, "environment": "cloud", "task": task})}
        for task in tasks
    ]
    with cluster.Process(args, environs[0]) as first, cluster.Process(args, environs[1]) as second:
        _ended([first, second])
    assert "chief 0 in a cluster of 1 chief and 1 worker (from CLUSTER_SPEC)" in first.said
    assert cluster.Run(tmp_path).summary["num_replicas"] == 2


def test_processes_of_a_launcher_without_a_cluster_are_refused(tmp_path):
    environ = {"PMI_SIZE": "2", "PMI_RANK": "0"}
    flag = f"--workdir={tmp_path / 'run'}"
    for verb in ([], ["launch", "--workers=2", "--"], ["tune", "--space=digits_sweep"]):
        with cluster.Process([*cluster.TRAINER, *verb, flag], environ) as process:
            assert process.wait() == 2
        assert process.error.startswith("`PMI_SIZE` must come with a cluster: ")
    assert not (tmp_path / "run").exists()


def test_launch_refuses_to_be_a_task_of_another_cluster(tmp_path):
    (spec, _) = cluster.clusters(worker=2)
    args = [*cluster.TRAINER, "launch", "--workers=2", "--", f"--workdir={tmp_path / 'run'}"]
    with cluster.Process(args, cluster.tf_config(spec)) as process:
        assert process.wait() == 2
    assert process.error == (
        "`launch` starts a cluster of its own on this machine, but TF_CONFIG describes one that this "
        "process is in. Received: worker 0 in a cluster of 2 workers; run `python -m trainer train` as "
        "each of its tasks, or unset TF_CONFIG."
    )
    assert not (tmp_path / "run").exists()


def test_a_refused_launch_leaves_no_folder_and_each_task_says_why(tmp_path):
    flags = ["--config=digits_dense", "--config.data.train_examples=5000"]
    reason = "must be 0 (all) to 1497 for digits"
    launch = ["launch", "--workers=2", "--", *flags]
    with cluster.Process([*cluster.TRAINER, *launch], folder=tmp_path) as process:
        assert process.wait() == 2
    # A task and launch; and the other task, unless it is so late that launch has stopped it.
    assert len([line for line in process.screen if reason in line]) in (2, 3)
    last = process.screen[-1]
    assert reason in last and "run the same command again" not in last
    assert not (tmp_path / "runs").exists()
    first, second = (
        cluster.task(spec, tmp_path / "own", *flags) for spec in cluster.clusters(worker=2)
    )
    with first, second:
        assert first.wait() == second.wait() == 2
    assert reason in first.error and reason in second.error
