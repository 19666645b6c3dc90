"""Is the cluster of an environment read, and is a process refused that would wrongly train alone?"""

import json

import pytest

from strategies.cluster import sagemaker
from strategies.cluster.spec import ClusterSpec, Task
from tests.unit.strategies.cluster.resolving import error_of, found

SAGEMAKER = {"SM_HOSTS": '["algo-1", "algo-2"]', "SM_CURRENT_HOST": "algo-2"}
VERTEX = {
    "cluster": {
        "workerpool0": ["cmle-training-workerpool0-ab-0:2222"],
        "workerpool1": [f"cmle-training-workerpool1-ab-{index}:2222" for index in range(2)],
    },
    "environment": "cloud",
    "task": {"type": "workerpool1", "index": 1, "trial": "TRIAL_ID"},
}
TONY = {
    "CLUSTER_SPEC": json.dumps({"chief": ["c:1"], "worker": ["a:1", "b:1"], "ps": ["p:1"]}),
    "JOB_NAME": "ps",
    "TASK_INDEX": "0",
}
MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
HYDRA = {"PMI_SIZE": "4", "PMI_RANK": "0", "MPI_LOCALNRANKS": "4"}
TORCHRUN = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
HOW = "set TF_CONFIG={} to train as a single task."


def test_the_instances_of_a_sagemaker_job_are_workers():
    cluster = found(**SAGEMAKER)
    assert cluster.as_dict() == {"worker": ["algo-1:2222", "algo-2:2222"]}
    assert str(cluster) == "worker 1 in a cluster of 2 workers (from SageMaker)"
    hosts = json.dumps([f"algo-{index}" for index in range(1, 5)])
    with_ps = found(ps=1, SM_HOSTS=hosts, SM_CURRENT_HOST="algo-2")
    assert with_ps.task == Task("ps", 0) and len(with_ps.trainers()) == 2


@pytest.fixture
def resources(tmp_path, monkeypatch):
    """The file in which every image of a SageMaker job finds its instances."""
    monkeypatch.setattr(sagemaker, "_FILE", tmp_path / "resourceconfig.json")
    return tmp_path / "resourceconfig.json"


def test_in_an_image_that_is_not_sagemakers_a_file_names_the_instances(resources):
    job = {"TRAINING_JOB_NAME": "digits-1"}
    assert found(**job) == ClusterSpec()  # The name is of another service.
    hosts = ["algo-1", "algo-2"]
    resources.write_text(json.dumps({"current_host": "algo-2", "hosts": hosts}))
    assert found() == ClusterSpec()
    assert found(**job).as_dict() == {"worker": ["algo-1:2222", "algo-2:2222"]}
    assert str(found(**job)) == "worker 1 in a cluster of 2 workers (from SageMaker)"
    resources.write_text(json.dumps({"current_host": "algo-1", "hosts": hosts[:1]}))
    assert found(**job) == ClusterSpec()


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "`hosts` in FILE must be a JSON list of names. Received: None"),
        ('{"hosts": "algo-1"}', "`hosts` in FILE must be a JSON list of names. Received: 'algo-1'"),
        ('{"hosts": ["a", "b"]}', "`current_host` must be one of the names in `hosts` in FILE. "
         "Received: [None, 'a', 'b']"),
    ],
)  # fmt: skip
def test_a_damaged_file_of_instances_is_refused_in_one_line(resources, text, message):
    resources.write_text(text)
    named = message.replace("FILE", str(resources))
    assert error_of(TRAINING_JOB_NAME="digits-1") == (
        f"SageMaker: {named}; set it as SageMaker does, or use --cluster, or {HOW}"
    )


def test_the_pools_of_a_vertex_job_are_chief_workers_servers_and_evaluator():
    cluster = found(CLUSTER_SPEC=json.dumps(VERTEX))
    assert cluster.task == Task("worker", 1) and cluster.leader == Task("chief", 0)
    assert str(cluster) == "worker 1 in a cluster of 1 chief and 2 workers (from CLUSTER_SPEC)"
    pools = {**VERTEX["cluster"], "workerpool2": ["p:2222"], "workerpool3": ["e:2222"]}
    spec = {"cluster": pools, "task": {"type": "workerpool3", "index": 0}}
    assert found(CLUSTER_SPEC=json.dumps(spec)).is_evaluator
    spec["task"]["type"] = "workerpool2"
    assert found(CLUSTER_SPEC=json.dumps(spec)).task == Task("ps", 0)


def test_tonys_cluster_has_its_task_in_two_variables():
    assert str(found(**TONY)).startswith("ps 0 in a cluster of 1 chief, 2 workers and 1 ps")


@pytest.mark.parametrize(
    "environ",
    [
        {"SM_HOSTS": '["algo-1"]', "SM_CURRENT_HOST": "algo-1"},
        {"SM_HOSTS": ""},
        {"CLUSTER_SPEC": json.dumps({"cluster": {"workerpool0": ["a:1"]},
                                     "task": {"type": "workerpool0", "index": 0}})},
        {"CLUSTER_SPEC": "production"},
        {"CLUSTER_SPEC": '{"size": 3}'},
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {"WORLD_SIZE": "2"},  # Of something else.
        {"WORLD_SIZE": "many", "RANK": "0"},
        {**SAGEMAKER, "TF_CONFIG": "{}"},
        {**TONY, **MPI, "TF_CONFIG": "{}"},
    ],
)  # fmt: skip
def test_a_single_task_stays_one(environ):
    assert found(**environ) == ClusterSpec()


@pytest.mark.parametrize("environ", [SAGEMAKER, TONY, MPI, HYDRA, TORCHRUN])
def test_what_is_written_down_overrides_every_environment(environ):
    written = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    expected = found(TF_CONFIG=json.dumps(written))
    assert found(**environ, TF_CONFIG=json.dumps(written)) == expected
    assert found("a:1,b:1", "worker:1", **environ) == expected


@pytest.mark.parametrize(
    "environ, message",
    [
        (MPI, "`OMPI_COMM_WORLD_SIZE` must come with a cluster: several processes that train alone would "
         "write to one workdir. Received: rank 1 of 2 processes; list them in the order of their ranks, "
         "as in --cluster=host0:2222,host1:2222"),
        (HYDRA, "`PMI_SIZE` must come with a cluster: several processes that train alone would write to "
         "one workdir. Received: rank 0 of 4 processes; run `python -m trainer launch --workers=4` once "
         "instead"),
        (TORCHRUN, "`WORLD_SIZE` must come with a cluster: several processes that train alone would "
         "write to one workdir. Received: rank 1 of 2 processes; list them in the order of their ranks, "
         "as in --cluster=host0:2222,host1:2222"),
        ({**SAGEMAKER, "SM_CURRENT_HOST": "algo-3"}, "SageMaker: `SM_CURRENT_HOST` must be one of the "
         "names in `SM_HOSTS`. Received: ['algo-3', 'algo-1', 'algo-2']; set it as SageMaker does, or "
         "use --cluster"),
        ({**SAGEMAKER, "SM_HOSTS": "algo-1,algo-2"}, "SageMaker: `SM_HOSTS` must be a JSON list of "
         "names. Received: 'algo-1,algo-2'; set it as SageMaker does, or use --cluster"),
        ({**SAGEMAKER, "OMPI_COMM_WORLD_SIZE": "16"}, "`OMPI_COMM_WORLD_SIZE` must be the number of "
         "tasks that SageMaker describes. Received: 16, and worker 1 in a cluster of 2 workers (from "
         "SageMaker); list every process in --cluster, or unset OMPI_COMM_WORLD_SIZE"),
        ({"CLUSTER_SPEC": '{"cluster": {'}, "CLUSTER_SPEC: must be JSON, but Expecting property name "
         "enclosed in double quotes at line 1, column 14. Received: \"{\\\"cluster\\\": {\"; try "
         '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}, '
         "or use --cluster"),
        ({**TONY, "TASK_INDEX": "2"}, "CLUSTER_SPEC: `task.index` must be 0 for a ps. Received: 2; count "
         "the tasks of each job from 0; the chief is not counted among the workers, or use --cluster"),
    ],
)  # fmt: skip
def test_what_cannot_train_together_is_refused_in_one_line(environ, message):
    assert error_of(**environ) == f"{message}, or {HOW}"


def test_the_rank_says_which_of_the_listed_tasks_this_is():
    cluster = found("a:1,b:1", **MPI)
    assert cluster.task == Task("worker", 1)
    assert str(cluster).endswith(" (from --cluster, task from OMPI_COMM_WORLD_RANK)")
    assert error_of("a:1,b:1,c:1", **MPI) == (
        "`--cluster` must list one task for each process that `OMPI_COMM_WORLD_SIZE` counts. Received: 3 "
        "tasks, and rank 1 of 2 processes; list them in the order of their ranks, or add --task."
    )


def test_ps_cannot_be_added_to_named_jobs():
    assert error_of("", "", 1, **TONY).startswith(
        "`--ps` needs a cluster without job names. Received: 1"
    )
