"""The numbers of workers that a config can run with."""

import pytest

from strategies.errors import InputError
from trainer.cli.options import LaunchOptions
from trainer.launch import cluster_size


def largest(batch, workers, *args, **options):
    flags = [f"--config.data.global_batch_size={batch}", *args]
    return cluster_size.largest_below(LaunchOptions(**options), flags, workers)


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
def test_the_largest_number_of_replicas_that_divides_the_batch(batch, workers, fewer, options):
    assert largest(batch, workers, min_workers=1, **options) == fewer


def test_the_devices_of_each_task_count():
    assert largest(24, 4, "--devices=8", min_workers=1) == 3
    assert largest(24, 4, "--devices", "4", min_workers=1, devices_per_worker=9) == 3


def test_without_a_smaller_number_the_error_gives_the_reason():
    with pytest.raises(InputError) as caught:
        largest(64, 4, min_workers=3)
    assert str(caught.value) == (
        "--min_workers=3 leaves no number of workers below 4 among which "
        "data.global_batch_size=64 divides evenly"
    )


def test_a_config_that_cannot_be_read_here_is_the_reason(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("raise RuntimeError('only on the workers')")
    with pytest.raises(InputError, match="only on the workers"):
        cluster_size.largest_below(LaunchOptions(min_workers=1), [f"--config={recipe}"], 2)


@pytest.mark.parametrize(
    "blocks, workers, fewer", [(0, 8, 6), (8, 8, 4), (16, 4, 2), (12, 8, 6), (12, 6, 3), (2, 3, 2)]
)
def test_each_replica_sums_a_power_of_two_of_reduction_blocks(blocks, workers, fewer):
    flag = f"--config.train.reduction_blocks={blocks}"
    assert largest(960, workers, flag, min_workers=1) == fewer
