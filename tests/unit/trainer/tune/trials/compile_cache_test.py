"""Do trials share compiled programs without changing their results?"""

import os
import pathlib

import pytest

from tests.cluster import cluster
from trainer.tune.trials import compile_cache


@pytest.mark.parametrize("given", [None, "--tf_xla_clustering_debug=false"])
def test_the_environment_is_restored(given, monkeypatch):
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    if given:
        monkeypatch.setenv("TF_XLA_FLAGS", given)
    before = dict(os.environ)
    with compile_cache.shared():
        folder = pathlib.Path(os.environ["TF_XLA_FLAGS"].rpartition("=")[2])
        assert folder.is_dir()
        assert os.environ["TF_XLA_FLAGS"].startswith(given or "--tf_xla_persistent")
        unshared = dict(os.environ)
        compile_cache.unshare(unshared)
        assert unshared == before
    assert dict(os.environ) == before
    assert not folder.exists()


def test_a_cached_program_is_reused_and_gives_the_same_bits(tmp_path):
    flags = ("--config.train.epochs=1", "--config.optimizer.learning_rate=0.003")
    uncached = cluster.finished(
        cluster.training(tmp_path / "uncached", *flags), tmp_path / "uncached"
    )
    with compile_cache.shared():
        cache = pathlib.Path(os.environ["TF_XLA_FLAGS"].rpartition("=")[2])
        first = tmp_path / "first"
        cluster.finished(cluster.training(first, "--config.train.epochs=1"), first)
        programs = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
        assert programs
        second = cluster.finished(
            cluster.training(tmp_path / "second", *flags), tmp_path / "second"
        )
        assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == programs
    assert second.summary["weights_sha256"] == uncached.summary["weights_sha256"]
