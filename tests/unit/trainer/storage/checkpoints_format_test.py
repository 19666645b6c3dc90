"""Are checkpoints of the last release read, and those of other formats refused in one line?"""

import dataclasses
import hashlib
import io
import json

import numpy as np
import pytest

from strategies.errors import EXIT_BAD_INPUT
from strategies.state import State
from trainer import __version__
from trainer.storage.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    UnsupportedFormatError,
)
from trainer.storage.layout import Layout

LAYOUT = Layout(["w"], [["m"]])
ORIGIN = {"model.hidden_units": [128], "train.seed": 0, "data": "7e47c545"}
# The values are of a short run; the fields and their order are the last release's.
LAST_RELEASE = """{
  "format": 2,
  "step": 10,
  "metrics": {
    "loss": 0.13359617183585923,
    "accuracy": 0.9712758851035405
  },
  "sums": [
    0.0,
    1.5,
    64.0
  ],
  "test": {
    "loss": 0.16877275466918945,
    "accuracy": 0.9433333333333334
  },
  "skipped": [
    4
  ],
  "threads": 2,
  "origin": {
    "model.hidden_units": [
      128
    ],
    "train.seed": 0,
    "data": "7e47c545"
  },
  "sha256": {
    "arrays.npz": "%s"
  },
  "seal": "%s"
}"""


def _state():
    weight = np.arange(3, dtype=np.float32)
    return State([weight], [[weight * 2]])


def _store(folder, defaults=None, **origin):
    return CheckpointStore(folder / "checkpoints", LAYOUT, 3, True, ORIGIN | origin, defaults)


def _path(folder, step=10):
    return folder / "checkpoints" / f"step-{step:010d}"


def _seal(manifest):
    text = json.dumps(manifest, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _write_as_the_last_release(folder):
    buffer = io.BytesIO()
    np.savez(buffer, **LAYOUT.named(_state()))
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    unsealed = json.loads(LAST_RELEASE % (sha256, ""))
    del unsealed["seal"]
    _path(folder).mkdir(parents=True)
    (_path(folder) / "arrays.npz").write_bytes(buffer.getvalue())
    (_path(folder) / "manifest.json").write_text(LAST_RELEASE % (sha256, _seal(unsealed)))


def _rewrite_manifest(folder, *removed, step=10, **changes):
    """Other fields, under a seal that fits them."""
    path = _path(folder, step) / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    for name in ("seal", *removed):
        del manifest[name]
    path.write_text(json.dumps(manifest | {"seal": _seal(manifest)}))


def _message(error, function, *args):
    with pytest.raises(error) as caught:
        function(*args)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_code == EXIT_BAD_INPUT
    return str(caught.value)


def _assert_is_the_last_releases(found):
    assert (found.step, found.sums, found.skipped) == (10, (0.0, 1.5, 64.0), (4,))
    assert found.metrics == {"loss": 0.13359617183585923, "accuracy": 0.9712758851035405}
    assert found.test == {"loss": 0.16877275466918945, "accuracy": 0.9433333333333334}
    assert found.threads == 2
    for arrays, expected in (
        (found.state.weights, _state().weights),
        (found.state.slots[0], _state().slots[0]),
    ):
        np.testing.assert_array_equal(arrays, expected)


def test_a_checkpoint_of_the_last_release_is_read(tmp_path):
    _write_as_the_last_release(tmp_path)
    _assert_is_the_last_releases(_store(tmp_path).newest())
    _assert_is_the_last_releases(_store(tmp_path).best())


def test_a_manifest_without_a_format_is_the_last_releases(tmp_path):
    _write_as_the_last_release(tmp_path)
    _rewrite_manifest(tmp_path, "format")
    _assert_is_the_last_releases(_store(tmp_path).newest())


def test_the_last_release_finds_its_fields_in_a_manifest_of_today(tmp_path):
    _store(tmp_path).save(Checkpoint(10, _state()))
    manifest = json.loads((_path(tmp_path) / "manifest.json").read_text())
    seal = manifest.pop("seal")
    assert seal == _seal(manifest)
    assert manifest["format"] == 2 and manifest["program"] == __version__
    assert {*manifest} - {*json.loads(LAST_RELEASE)} == {"program", "best", "seconds"}
    assert {*json.loads(LAST_RELEASE)} - {*manifest} == {"seal"}


def test_a_newer_format_ends_the_command_and_is_never_skipped(tmp_path):
    store = _store(tmp_path)
    for step in (10, 20):
        store.save(Checkpoint(step, _state(), test={"loss": step}))
    _rewrite_manifest(tmp_path, "metrics", step=20, format=3, program="0.3.0")
    for function, *args in ((store.newest,), (store.best,), (store.read, 20)):
        assert _message(UnsupportedFormatError, function, *args) == (
            f"`--workdir` must hold checkpoints of format 2, which muster {__version__} reads. "
            f"Received: {str(_path(tmp_path, 20))!r} of format 3, written by muster 0.3.0; install that "
            "version or a newer one, or choose another folder."
        )
    assert store.read(10).step == 10


@pytest.mark.parametrize("program", ["", "0.3.0\n", 3, None])
def test_a_newer_format_without_a_usable_version_is_refused_too(tmp_path, program):
    store = _store(tmp_path)
    store.save(Checkpoint(10, _state()))
    _rewrite_manifest(tmp_path, format=3, program=program)
    message = _message(UnsupportedFormatError, store.newest)
    assert "of format 3, written by a newer version; install that version or a newer" in message


def test_an_older_format_is_refused_with_the_reason(tmp_path):
    store = _store(tmp_path)
    store.save(Checkpoint(10, _state()))
    _rewrite_manifest(tmp_path, "program", format=1)
    assert _message(UnsupportedFormatError, store.newest).endswith(
        "of format 1, written by an older version; finish the run with that version, or choose another "
        "folder."
    )


@pytest.mark.parametrize("format_", ["2", None, True, 2.0])
def test_a_format_that_is_not_an_integer_is_damage(tmp_path, format_):
    store = _store(tmp_path)
    store.save(Checkpoint(10, _state()))
    _rewrite_manifest(tmp_path, format=format_)
    message = _message(CheckpointError, store.read, 10)
    assert message.endswith(f"cannot be used: its format is {format_!r}, not an integer.")
    assert store.newest() is None


def test_a_newer_format_that_is_damaged_is_damage(tmp_path):
    store = _store(tmp_path)
    store.save(Checkpoint(10, _state()))
    path = _path(tmp_path) / "manifest.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    assert _message(CheckpointError, store.read, 10).endswith("its manifest is damaged.")
    assert store.newest() is None


def test_a_save_keeps_its_promises_next_to_another_format(tmp_path):
    store = _store(tmp_path)
    for step in (10, 20):
        store.save(Checkpoint(step, _state(), test={"loss": 1.0 / step}))
    _rewrite_manifest(tmp_path, step=10, format=3)
    for step in (30, 40):
        store.save(Checkpoint(step, _state(), test={"loss": 1.0}))
    assert store.steps() == [20, 30, 40]


def test_a_field_of_the_config_that_came_later_has_its_default(tmp_path):
    _write_as_the_last_release(tmp_path)
    defaults = {"train.ema": 0.0, "train.seed": 7}
    _assert_is_the_last_releases(_store(tmp_path, defaults, **{"train.ema": 0.0}).newest())
    other = _store(tmp_path, defaults, **{"train.ema": 0.9})
    message = _message(CheckpointError, other.read, 10)
    assert message.endswith("it is of another run, whose `train.ema` was 0.0, not 0.9.")


def test_a_field_of_the_config_that_is_unknown_here_is_refused_by_name(tmp_path):
    _store(tmp_path, **{"train.ema": 0.9}).save(Checkpoint(10, _state()))
    message = _message(CheckpointError, _store(tmp_path).read, 10)
    assert message.endswith(
        f"it is of another run, whose `train.ema` was 0.9; muster {__version__} has no such field."
    )


def test_every_part_of_a_state_has_a_name_in_a_checkpoint():
    """A part that is added to State needs a place in Layout, or it is lost."""
    assert {*vars(_state())} == {"weights", "slots", "layer_state", "memory"}
    found = LAYOUT.state(LAYOUT.named(_state()))
    np.testing.assert_array_equal(found.weights, _state().weights)
    np.testing.assert_array_equal(found.slots, _state().slots)
    counted = State(_state().weights, _state().slots, memory={"rounds": np.array(3, np.int64)})
    layout = Layout(LAYOUT.weights, LAYOUT.slots, LAYOUT.layer_state, like=counted)
    assert layout.state(layout.named(counted)).memory == {"rounds": 3}
    averages, seeds = np.array([0.5, 2], np.float32), np.array([7, 0], np.int64)
    layout = dataclasses.replace(LAYOUT, layer_state=["norm/mean", "seed_0"])
    state = State(_state().weights, _state().slots, [averages, seeds])
    assert layout.named(state).keys() - LAYOUT.named(_state()).keys() == {
        "state/norm/mean", "state/seed_0"
    }  # fmt: skip
    for one, other in zip(
        layout.state(layout.named(state)).layer_state, (averages, seeds), strict=True
    ):
        np.testing.assert_array_equal(one, other)
