"""The tasks and GPUs of a cluster on this machine."""

import pytest

from strategies.cluster.spec import Task
from strategies.errors import InputError
from trainer.cli.options import LaunchOptions
from trainer.launch import cluster_plan


def clusters_of(**options):
    return cluster_plan.plan(LaunchOptions(**options), range(2000, 2010))


def test_gpus_are_shared_out_to_the_tasks_that_train():
    clusters = clusters_of(workers=2, ps=1)
    shares = cluster_plan.share_gpus(clusters[0], 2, ["0", "1", "2", "3", "4"])
    assert shares == {Task("worker", 0): "0,1", Task("worker", 1): "2,3"}
    assert cluster_plan.share_gpus(clusters[0], 2, []) == {}


def test_a_chief_without_parameter_servers_gets_gpus():
    cluster = clusters_of(workers=1, chief=True)[0]
    shares = cluster_plan.share_gpus(cluster, 1, ["GPU-a", "GPU-b"])
    assert shares == {Task("chief", 0): "GPU-a", Task("worker", 0): "GPU-b"}


def test_a_worker_in_a_smaller_cluster_keeps_its_gpus():
    cluster = clusters_of(workers=3, chief=True)[0]
    shares = cluster_plan.share_gpus(cluster, 1, ["0", "1", "2", "3"])
    assert cluster_plan.shares_of_workers(shares, [0, 2]) == {
        Task("chief", 0): "0",
        Task("worker", 0): "1",
        Task("worker", 1): "3",
    }
    assert cluster_plan.shares_of_workers({}, [0, 2]) == {}


def test_too_few_gpus_are_an_error_with_their_number():
    with pytest.raises(InputError) as caught:
        cluster_plan.share_gpus(clusters_of(workers=2)[0], 2, ["0", "1", "2"])
    assert str(caught.value) == (
        "`--devices_per_worker` asks for more GPUs than the 3 of this machine. Received: 2 for each "
        'of 2 tasks; lower it or `--workers`, or set CUDA_VISIBLE_DEVICES="-1" to train on the CPU.'
    )
