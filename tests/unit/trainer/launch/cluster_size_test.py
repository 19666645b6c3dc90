"""The numbers of workers that a config can run with."""

import pytest

from strategies.errors import InputError
from trainer.cli.options import LaunchOptions
from trainer.launch import cluster_size


def largest(batch, workers, *args, on_cpus=True, **options):
    flags = [f"--config.data.global_batch_size={batch}", *args]
    return cluster_size.largest_below(LaunchOptions(**options), flags, workers, on_cpus)


@pytest.mark.parametrize(
    "batch, workers, fewer, options",
    [
        (64, 4, 3, {}),  # 4 blocks.
        (64, 6, 4, {}),
        (60, 8, 6, {}),  # 4 blocks, and 6 equal shares.
        (64, 3, 2, {"chief": True}),
        (64, 3, 2, {"devices_per_worker": 2}),
        (64, 9, 8, {"devices_per_worker": 1}),
    ],
)
def test_each_replica_needs_a_block_or_an_equal_share(batch, workers, fewer, options):
    assert largest(batch, workers, min_workers=1, **options) == fewer


@pytest.mark.parametrize(
    "batch, workers, fewer, options",
    [
        (64, 4, 2, {}),
        (60, 4, 3, {}),
        (64, 2, 1, {}),
        (60, 5, 4, {"chief": True}),  # Five replicas, as the chief trains too.
        (60, 7, 5, {"chief": True}),
        (64, 6, 4, {"devices_per_worker": 4}),
        (48, 6, 4, {"devices_per_worker": 4}),
    ],
)
@pytest.mark.parametrize("how", ["on GPUs", "through TensorFlow"])
def test_where_tensorflow_adds_the_number_of_replicas_divides_the_batch(
    how, batch, workers, fewer, options
):
    flags = ["--transport=tensorflow"] if how == "through TensorFlow" else []
    on_cpus = how != "on GPUs"
    assert largest(batch, workers, *flags, on_cpus=on_cpus, min_workers=1, **options) == fewer


def test_the_devices_of_each_task_count():
    assert largest(24, 4, "--devices=8", min_workers=1) == 3
    assert largest(24, 4, "--devices", "4", min_workers=1, devices_per_worker=9) == 3
    assert largest(32, 4, "--devices=2", "--config.train.reduction_blocks=4", min_workers=1) == 2


def test_without_a_smaller_number_the_error_gives_the_reason():
    with pytest.raises(InputError) as caught:
        largest(64, 4, "--transport=tensorflow", min_workers=3)
    assert str(caught.value) == (
        "--min_workers=3 leaves no number of workers below 4 that can share the batch: "
        "`data.global_batch_size` must divide evenly among replicas. Received: 64 for 3 replicas; try 63 "
        "or 66."
    )
    with pytest.raises(InputError, match="--min_workers=4 leaves no number of workers below 4$"):
        largest(64, 4, min_workers=4)
    speeds = "--config.data.balance=weighted", "--config.data.worker_speeds=1,2,1"
    with pytest.raises(InputError, match="`data.worker_speeds` must have a number for each task"):
        largest(64, 3, *speeds, min_workers=2)


def test_a_config_that_cannot_be_read_here_is_the_reason(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("raise RuntimeError('only on the workers')")
    with pytest.raises(InputError, match="only on the workers"):
        cluster_size.largest_below(LaunchOptions(min_workers=1), [f"--config={recipe}"], 2)


@pytest.mark.parametrize(
    "blocks, workers, fewer", [(0, 8, 6), (8, 8, 4), (16, 4, 2), (12, 8, 6), (12, 6, 3), (2, 3, 2)]
)
def test_where_tensorflow_adds_each_replica_sums_a_power_of_two_of_blocks(blocks, workers, fewer):
    flags = f"--config.train.reduction_blocks={blocks}", "--transport=tensorflow"
    assert largest(960, workers, *flags, min_workers=1) == fewer


def test_fewer_workers_must_fill_a_mesh():
    mesh = ["--mesh=model:2", "--config.model.blocks=4"]
    assert largest(64, 5, *mesh, min_workers=1) == 4
    assert largest(64, 4, *mesh, min_workers=1) == 2
    with pytest.raises(InputError, match="a place for each of the 3 workers"):
        largest(64, 4, *mesh, min_workers=3)
