"""Which strategy does a cluster get, with which reason, and what is an error?"""

import json

import pytest

from strategies.choose import Choice, asks_for_tpu, choose, tpu_from_env, with_transport
from strategies.cluster import tf_config
from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError


def _cluster(task="worker", index=0, **jobs):
    """A cluster with this number of tasks per job, as task `task` `index` sees it."""
    addresses = {
        job: [f"{job}{place}:2222" for place in range(count)] for job, count in jobs.items()
    }
    task = {"type": task, "index": index}
    return tf_config.parse(json.dumps({"cluster": addresses, "task": task}))


ALONE = ClusterSpec()
ONE = _cluster(worker=1)
TWO = _cluster(worker=2)
CHIEF = _cluster("chief", chief=1, worker=2)
PS = _cluster("chief", chief=1, worker=2, ps=2)
SMALL_PS = _cluster("chief", chief=1, worker=1, ps=1)

NO_CLUSTER = "TF_CONFIG names no cluster, so the devices here train together"
ONE_TASK = "TF_CONFIG names a single task, so its devices train together"
TWO_TASKS = "TF_CONFIG has 2 tasks that train and no `ps`, so they add their gradients every step"
TWO_PS = (
    "TF_CONFIG has a `ps` job, so 2 parameter servers hold the weights, 2 workers compute and the "
    "chief coordinates"
)


@pytest.mark.parametrize(
    "cluster, flags, strategy, reason",
    [
        (ALONE, {}, "mirrored", NO_CLUSTER),
        (ALONE, {"wanted": "mirrored"}, "mirrored", NO_CLUSTER),
        (ONE, {}, "mirrored", ONE_TASK),
        (_cluster("chief", chief=1), {}, "mirrored", ONE_TASK),
        (ONE, {"wanted": "multi_worker"}, "multi_worker",
         "the flag --strategy asks for it; TF_CONFIG names one task"),
        (TWO, {}, "multi_worker", TWO_TASKS),
        (TWO, {"wanted": "multi_worker"}, "multi_worker", TWO_TASKS),
        (CHIEF, {}, "multi_worker", TWO_TASKS.replace("2 tasks", "3 tasks")),
        (PS, {}, "parameter_server", TWO_PS),
        (PS, {"wanted": "parameter_server"}, "parameter_server", TWO_PS),
        (SMALL_PS, {}, "parameter_server",
         "TF_CONFIG has a `ps` job, so a parameter server holds the weights, 1 worker compute and "
         "the chief coordinates"),
        (ALONE, {"tpu": "pod-1"}, "tpu", "a flag asks for the TPU 'pod-1'"),
        (ALONE, {"tpu": "pod-1", "wanted": "tpu"}, "tpu", "a flag asks for the TPU 'pod-1'"),
        (ALONE, {"wanted": "tpu"}, "tpu", "a flag asks for the TPU 'local'"),
        (ALONE, {"tpu_in_env": "local"}, "tpu", "the environment asks for the TPU 'local'"),
        (ALONE, {"tpu_in_env": "pod-2", "tpu": "pod-1"}, "tpu", "a flag asks for the TPU 'pod-1'"),
        (ALONE, {"tpu_in_env": "pod-2", "wanted": "tpu"}, "tpu", "a flag asks for the TPU 'pod-2'"),
        (ALONE, {"tpu_in_env": "pod-2", "wanted": "mirrored"}, "mirrored", NO_CLUSTER),
    ],
)  # fmt: skip
def test_a_cluster_and_flags_give_one_strategy_and_its_reason(cluster, flags, strategy, reason):
    choice = choose(cluster, **flags)
    assert (choice.strategy, choice.reason) == (strategy, reason)


@pytest.mark.parametrize("task, index", [("chief", 0), ("worker", 1), ("ps", 0)])
def test_every_task_of_a_cluster_makes_the_same_choice(task, index):
    assert choose(_cluster(task, index, chief=1, worker=2, ps=2)) == choose(PS)


@pytest.mark.parametrize(
    "cluster, flags, message",
    [
        (ALONE, {"wanted": "mirorred"},
         "`--strategy` must be one of auto, mirrored, multi_worker, parameter_server, tpu. "
         "Received: 'mirorred'."),
        (ALONE, {"wanted": "multi_worker"},
         f"`--strategy=multi_worker` contradicts TF_CONFIG, which asks for mirrored: {NO_CLUSTER}. "
         "Received: single task, no cluster in TF_CONFIG; TF_CONFIG must list several workers and no "
         "`ps`; start one with `python -m trainer launch --workers=2`."),
        (ALONE, {"wanted": "parameter_server"},
         f"`--strategy=parameter_server` contradicts TF_CONFIG, which asks for mirrored: "
         f"{NO_CLUSTER}. Received: single task, no cluster in TF_CONFIG; TF_CONFIG must list `chief`, "
         "`worker` and `ps`; start one with `python -m trainer launch --workers=2 --ps=1`."),
        (TWO, {"wanted": "mirrored"},
         f"`--strategy=mirrored` contradicts TF_CONFIG, which asks for multi_worker: {TWO_TASKS}. "
         "Received: worker 0 in a cluster of 2 workers; unset TF_CONFIG to train on this machine "
         "only, or leave the flag out."),
        (PS, {"wanted": "multi_worker"},
         f"`--strategy=multi_worker` contradicts TF_CONFIG, which asks for parameter_server: "
         f"{TWO_PS}. Received: chief 0 in a cluster of 1 chief, 2 workers and 2 ps; TF_CONFIG must "
         "list several workers and no `ps`; start one with `python -m trainer launch --workers=2`."
         ),
        (ALONE, {"wanted": "mirrored", "tpu": "pod-1"},
         "`--tpu` and `--strategy=mirrored` contradict each other. Received: 'pod-1'; leave one "
         "out."),
        (TWO, {"tpu_in_env": "local"},
         "TF_CONFIG and a TPU exclude each other: TPUStrategy is one program that drives all cores, "
         "even of a pod. Received: TPU 'local' and worker 0 in a cluster of 2 workers; unset "
         "TF_CONFIG, or choose another --strategy."),
    ],
)  # fmt: skip
def test_an_error_names_the_contradiction_and_how_to_fix_it(cluster, flags, message):
    with pytest.raises(ClusterError) as caught:
        choose(cluster, **flags)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "environ, tpu",
    [
        ({}, ""),
        ({"TPU_NAME": ""}, ""),
        ({"TPU_NAME": "pod-1"}, "pod-1"),
        ({"KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS": "grpc://10.0.0.2:8470", "TPU_NAME": "pod-1"},
         "grpc://10.0.0.2:8470"),
        ({"TPU_CONFIG": '{"worker": []}'}, "local"),
    ],
)  # fmt: skip
def test_the_environment_names_a_tpu(environ, tpu):
    assert tpu_from_env(environ) == tpu


CPUS, GPU, GPUS = ["CPU:0", "CPU:0"], ["GPU:0"], ["GPU:0", "GPU:1"]


@pytest.mark.parametrize(
    "wanted, devices, transport",
    [
        ("auto", CPUS[:1], "direct"),
        ("auto", CPUS, "direct"),
        ("auto", GPUS, "tensorflow"),
        ("direct", GPU, "direct"),
        ("tensorflow", CPUS[:1], "tensorflow"),
    ],
)
def test_the_transport_depends_on_the_devices_of_the_workers(wanted, devices, transport):
    choice = with_transport(choose(TWO), wanted, devices)
    assert choice.transport == transport
    assert choice.starts_servers == (transport == "tensorflow")


@pytest.mark.parametrize(
    "cluster, wanted, devices, message",
    [
        (TWO, "direct", GPUS,
         "`--transport=direct` takes one GPU per worker. Received: 2 GPUs; leave it out, or give "
         "--devices=1."),
        (TWO, "tensorflow", CPUS,
         "`--devices` must be 1 where several workers train on CPUs through TensorFlow, which takes "
         "one CPU device per worker. Received: 2; leave out --transport."),
        (ALONE, "direct", CPUS[:1],
         "`--transport` is for workers that exchange gradients. Received: 'direct' with mirrored; "
         "leave it out."),
    ],
)  # fmt: skip
def test_a_transport_that_is_not_available_is_an_error(cluster, wanted, devices, message):
    with pytest.raises(ClusterError) as caught:
        with_transport(choose(cluster), wanted, devices)
    assert str(caught.value) == message


def test_only_workers_without_parameter_servers_have_a_transport():
    assert with_transport(choose(ALONE), "auto", CPUS).transport == ""


@pytest.mark.parametrize(
    "strategy, modes",
    [
        ("parameter_server", ("async_window", "async")),
        ("mirrored", ("gradients", "parameters", "dynamic", "federated")),
        ("tpu", ("gradients",)),
    ],
)
def test_a_strategy_has_modes_of_agreement_of_which_the_first_is_its_default(strategy, modes):
    assert Choice(strategy, "").sync_modes == modes


@pytest.mark.parametrize(
    "cluster, devices, replicas, shares, words",
    [
        (ALONE, 1, 1, [64], "64 examples per step = 1 x 64"),
        (ALONE, 4, 4, [16] * 4, "64 examples per step = 4 x 16"),
        (TWO, 2, 4, [24, 24, 8, 8], "64 examples per step = 24 + 24 + 8 + 8"),
        (PS, 1, 1, [64], "64 examples per step, each step on one of 2 workers"),
    ],
)
def test_a_batch_is_divided_among_all_replicas_unless_a_worker_takes_it_whole(
    cluster, devices, replicas, shares, words
):
    choice = choose(cluster)
    assert choice.num_replicas(cluster, devices) == replicas
    assert choice.describe_batch(cluster, 64, shares) == words


def test_the_replicas_of_a_tpu_are_not_known_before_its_runtime():
    choice = choose(ALONE, tpu="pod-1")
    assert choice.num_replicas(ALONE, 0) == 0
    assert choice.describe_batch(ALONE, 64, []) == "64 examples per step, over the cores of the TPU"


def test_only_the_leader_of_parameter_servers_loads_data_and_the_others_serve():
    choice = choose(PS)
    assert not choice.every_task_loads_data and not choice.serves(PS)
    assert all(choice.serves(_cluster(job, 0, chief=1, worker=2, ps=2)) for job in ("worker", "ps"))
    assert choose(TWO).every_task_loads_data and not choose(TWO).serves(_cluster(index=1, worker=2))


def test_only_workers_beside_parameter_servers_are_replaceable():
    assert choose(PS).replaceable_tasks(PS) == {Task("worker", 0), Task("worker", 1)}
    assert not choose(TWO).replaceable_tasks(TWO)


@pytest.mark.parametrize("cluster", [ALONE, TWO, PS])
def test_checkpoints_are_evaluated_on_one_machine(cluster):
    assert choose(cluster).for_evaluation().strategy == "mirrored"


def test_a_tpu_evaluates_checkpoints_itself():
    choice = choose(ALONE, tpu="pod-1")
    assert choice.for_evaluation() == choice


@pytest.mark.parametrize(
    "strategy, tpu, asks",
    [("auto", "", False), ("auto", "local", True), ("tpu", "", True), ("mirrored", "", False)],
)
def test_the_flags_ask_for_a_tpu_by_strategy_or_by_name(strategy, tpu, asks):
    assert asks_for_tpu(strategy, tpu) == asks
