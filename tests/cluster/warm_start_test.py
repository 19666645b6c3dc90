"""Does a run that begins with another run's weights end with the same bits in every layout?"""

import numpy as np

from tests.cluster import cluster, own_models
from tests.paths import ROOT

FLAGS = [f"--config={ROOT / 'tests' / 'recipes' / 'cnn.py'}"]


def test_a_run_with_the_weights_of_another_ends_with_the_same_bits_everywhere(tmp_path):
    averaging = "--config.optimizer.ema_momentum=0.5"
    source = cluster.finished(
        cluster.training(tmp_path / "source", *FLAGS, averaging), tmp_path / "source"
    )
    freeze = "--config.model.frozen_layers=conv*,batch_normalization"
    warm = [*FLAGS, freeze, f"--config.model.initial_weights={source.workdir}"]
    single = cluster.finished(cluster.training(tmp_path / "1", *warm), tmp_path / "1")
    averages = source.arrays["optimizer/conv2d/kernel/kernel_average"]
    assert np.array_equal(single.arrays["state/conv2d/kernel"], averages)
    moving = "state/batch_normalization/moving_mean"
    assert np.array_equal(single.arrays[moving], source.arrays[moving])
    dense = single.arrays["weights/dense/kernel"]
    assert not np.array_equal(dense, source.arrays["optimizer/dense/kernel/kernel_average"])

    # Only the leader has them: the others get them from it.
    leader, follower = cluster.clusters(worker=2)
    elsewhere = [*FLAGS, freeze, "--config.model.initial_weights=nowhere"]
    with cluster.task(follower, tmp_path / "2", *elsewhere) as other:
        two = cluster.finished(cluster.task(leader, tmp_path / "2", *warm), tmp_path / "2")
        assert other.wait() == 0
    own_models.assert_same_bits(two, single)

    moved = tmp_path / "moved"
    resumed = own_models.killed_and_resumed(
        tmp_path / "killed", warm, then=lambda: source.workdir.rename(moved)
    )
    own_models.assert_same_bits(resumed, single)
