"""What trials share of what they compiled."""

import os
import pathlib

import pytest

from tests.cluster import cluster
from trainer.tune.trials import compile_cache


@pytest.mark.parametrize("given", [None, "--tf_xla_clustering_debug=false"])
def test_the_environment_is_as_it_was_afterwards(given, monkeypatch):
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    if given:
        monkeypatch.setenv("TF_XLA_FLAGS", given)
    before = dict(os.environ)
    with compile_cache.shared():
        folder = pathlib.Path(os.environ["TF_XLA_FLAGS"].rpartition("=")[2])
        assert folder.is_dir()
        assert os.environ["TF_XLA_FLAGS"].startswith(given or "--tf_xla_persistent")
        apart = dict(os.environ)
        compile_cache.unshare(apart)
        assert apart == before
    assert dict(os.environ) == before
    assert not folder.exists()


def test_a_program_that_was_compiled_before_is_taken_from_there_with_equal_bits(tmp_path):
    flags = ("--config.train.epochs=1", "--config.optimizer.learning_rate=0.003")
    alone = cluster.finished(cluster.training(tmp_path / "alone", *flags), tmp_path / "alone")
    with compile_cache.shared():
        kept = pathlib.Path(os.environ["TF_XLA_FLAGS"].rpartition("=")[2])
        first = tmp_path / "first"
        cluster.finished(cluster.training(first, "--config.train.epochs=1"), first)
        programs = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
        assert programs
        second = cluster.finished(
            cluster.training(tmp_path / "second", *flags), tmp_path / "second"
        )
        assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == programs
    assert second.summary["weights_sha256"] == alone.summary["weights_sha256"]
