"""Are rules that hold before a task meets its peers applied to what each task does?"""

import dataclasses

import numpy as np
import pytest

from strategies import choose
from strategies.cluster.spec import ClusterSpec, Task
from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.data import registry
from trainer.data.dataset import DataError, Split
from trainer.estimate import host_memory
from trainer.task import rules

PS = {"chief": ("c:1",), "worker": ("a:1", "b:1"), "ps": ("p:1",)}


def _check(batch, devices=1, cluster=None, name="digits_dense"):
    cluster = cluster or ClusterSpec()
    config = config_load.resolve(name, {"data.global_batch_size": str(batch)})
    rules.check_batch(config, choose.choose(cluster), cluster, ["CPU:0"] * devices)


def test_a_batch_that_cannot_fit_is_refused_with_one_that_does(monkeypatch):
    monkeypatch.setattr("trainer.estimate.tpu_memory.available_bytes", lambda: 64 * 2**20)
    _check(20_000)  # 784 numbers of 4 bytes each: 60 MiB.
    with pytest.raises(ConfigError) as caught:
        _check(40_000)
    assert str(caught.value) == (
        "`data.global_batch_size` needs at least 0.1 GiB of memory for each replica's features, and 0.1 "
        "GiB are free. Received: 40000; try 4096."
    )
    _check(4096)
    _check(40_000, devices=2)
    _check(40_000, cluster=ClusterSpec(PS, Task("worker", 0)))  # Only the chief reads data.
    with pytest.raises(ConfigError):
        _check(40_000, cluster=ClusterSpec(PS, Task("chief", 0)))


@pytest.mark.parametrize("target, field, expected", [
    (np.arange(20) % 3, "model.output_activation=relu", "must be empty for a classification"),
    (np.arange(20) / 3, "train.label_smoothing=0.1", "must be 0 for a regression"),
])  # fmt: skip
def test_options_for_the_other_kind_of_data_are_refused_once_a_source_is_read(
    target, field, expected, tmp_path
):
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 2), np.float32), y=target)
    name, _, value = field.partition("=")
    source = f"npz:{tmp_path / 'a.npz'}"
    alone = ClusterSpec()
    for recipe in ("linear_100", "digits_dense"):  # Whatever data the recipe names.
        config = config_load.resolve(recipe, {"data.source": source, name: value})
        data = registry.load(config.data)
        with pytest.raises(ConfigError, match=f"`{name}` {expected}.* for npz:"):
            rules.check_loaded(config, choose.choose(alone), alone, 1, data)


def test_only_an_evaluator_needs_a_workdir():
    rules.check_evaluator(ClusterSpec(PS, Task("worker", 0)), "")
    rules.check_evaluator(ClusterSpec(PS, Task("evaluator", 0)), "w")
    with pytest.raises(
        ConfigError, match="`--workdir` must name the folder in which the trainers save"
    ):
        rules.check_evaluator(ClusterSpec(PS, Task("evaluator", 0)), "")


def test_features_count_as_the_model_takes_them():
    images = np.zeros((3, 28, 28), np.uint8)
    assert host_memory.bytes_per_example(Split(images, images[:, 0, 0])) == 28 * 28 * 4
    by_name = {"a": np.zeros((3, 2), np.int64), "words": np.array(["x", "y", "z"])}
    assert host_memory.bytes_per_example(Split(by_name, images[:, 0, 0])) == 16


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_that_is_none_of_the_classes_is_refused(monkeypatch, label):
    config = config_load.resolve("dense_100").data
    whole = registry.load(config)
    labels = whole.test.targets.copy()
    labels[7] = label
    changed = dataclasses.replace(whole, test=Split(whole.test.features, labels))
    monkeypatch.setattr("trainer.data.sources.synthetic.load", lambda config: changed)
    with pytest.raises(
        DataError, match="classes from 0 to 9. Received: .* in the test labels of dense_100"
    ):
        registry.load(config)
