"""Is a checkpoint read bit for bit as it was saved, or not at all?"""

import dataclasses
import errno
import hashlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from absl import logging

from strategies.state import State
from tests.paths import ROOT
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.checkpoints import Checkpoint, CheckpointError, CheckpointStore
from trainer.storage.layout import Layout

LAYOUT = Layout(
    ["hidden_1/kernel", "hidden_1/bias"],
    [["iteration", "momentum"], ["iteration", "momentum"]],
)


def _state(seed=0):
    numbers = np.random.default_rng(seed)
    kernel, bias = numbers.normal(size=(5, 3)), numbers.normal(size=3)
    weights = [kernel.astype(np.float32), bias.astype(np.float32)]
    weights[0][0] = [np.nan, -0.0, np.inf]  # These would pass a comparison of values.
    weights[1][0] = np.float32(1e-45)
    return State(weights, [[np.array(seed, np.int64), weight * 2] for weight in weights])


def _checkpoint(step):
    return Checkpoint(step, _state(step), {"loss": step / 7, "accuracy": 0.5})


def _store(folder, keep=3, layout=LAYOUT):
    return CheckpointStore(folder / "checkpoints", layout, keep)


def _place(folder, step):
    return folder / "checkpoints" / f"step-{step:010d}"


def _assert_equal(checkpoint, expected):
    assert checkpoint.step == expected.step and checkpoint.metrics == expected.metrics
    arrays = [*checkpoint.state.weights, *sum(checkpoint.state.slots, [])]
    others = [*expected.state.weights, *sum(expected.state.slots, [])]
    for mine, theirs in zip(arrays, others, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert mine.tobytes() == theirs.tobytes()


def _message(function, *args):
    with pytest.raises(CheckpointError) as caught:
        function(*args)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def warnings_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
    return lines


def test_a_checkpoint_is_read_bit_for_bit_as_it_was_saved(tmp_path):
    store = _store(tmp_path)
    store.save(_checkpoint(7))
    _assert_equal(store.read(7), _checkpoint(7))
    _assert_equal(store.newest(), _checkpoint(7))
    _assert_equal(_store(tmp_path).newest(), _checkpoint(7))


def test_the_arrays_have_readable_names(tmp_path):
    _store(tmp_path).save(_checkpoint(7))
    with np.load(_place(tmp_path, 7) / "arrays.npz", allow_pickle=False) as file:
        assert file.files == [
            "weights/hidden_1/kernel",
            "weights/hidden_1/bias",
            "optimizer/hidden_1/kernel/iteration",
            "optimizer/hidden_1/kernel/momentum",
            "optimizer/hidden_1/bias/iteration",
            "optimizer/hidden_1/bias/momentum",
        ]
    manifest = json.loads((_place(tmp_path, 7) / "manifest.json").read_text())
    assert manifest["step"] == 7 and manifest["metrics"] == {"loss": 1.0, "accuracy": 0.5}


def test_an_empty_store_has_no_newest_checkpoint(tmp_path):
    assert _store(tmp_path).newest() is None
    assert _store(tmp_path).steps() == []
    folder = _place(tmp_path, 5)
    assert _message(_store(tmp_path).read, 5) == (
        f"the checkpoint {str(folder)!r} cannot be used: No such file or directory."
    )


@pytest.mark.parametrize("keep, left", [(1, [50]), (2, [40, 50]), (9, [10, 20, 30, 40, 50])])
def test_the_newest_are_kept(tmp_path, keep, left):
    store = _store(tmp_path, keep)
    for step in (10, 20, 30, 40, 50):
        store.save(_checkpoint(step))
    assert store.steps() == left
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step-{step:010d}" for step in left]


def test_a_step_that_is_saved_again_is_replaced(tmp_path):
    store = _store(tmp_path)
    store.save(_checkpoint(7))
    other = Checkpoint(7, _state(8), {})
    store.save(other)
    _assert_equal(store.read(7), other)


def test_a_checkpoint_saved_before_damaged_ones_is_not_removed(tmp_path, warnings_logged):
    store = _store(tmp_path, keep=2)
    for step in (10, 20):
        store.save(_checkpoint(step))
        (_place(tmp_path, step) / "arrays.npz").write_bytes(b"damaged")
    assert store.newest() is None
    store.save(_checkpoint(5))  # The run started again from step 0.
    _assert_equal(store.newest(), _checkpoint(5))
    for step in (10, 20):
        store.save(_checkpoint(step))
    assert store.steps() == [10, 20]
    _assert_equal(store.newest(), _checkpoint(20))


@pytest.mark.parametrize("name", ["arrays.npz", "manifest.json"])
def test_a_flipped_bit_never_changes_what_is_read(tmp_path, name):
    store = _store(tmp_path)
    store.save(_checkpoint(20))
    path = _place(tmp_path, 20) / name
    data = path.read_bytes()
    for place in range(0, len(data) * 8, 7):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            _assert_equal(store.read(20), _checkpoint(20))
        except CheckpointError:
            continue


@pytest.mark.parametrize(
    "damage, why",
    [
        (lambda folder: (folder / "arrays.npz").unlink(), "No such file or directory"),
        (lambda folder: (folder / "manifest.json").unlink(), "No such file or directory"),
        (lambda folder: (folder / "arrays.npz").write_bytes(b"x"), "its checksum differs"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "its manifest is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_logged_and_the_one_before_it_is_used(
    tmp_path, warnings_logged, damage, why
):
    store = _store(tmp_path)
    for step in (10, 20):
        store.save(_checkpoint(step))
    damage(_place(tmp_path, 20))
    _assert_equal(store.newest(), _checkpoint(10))
    assert warnings_logged == [
        f"the checkpoint {str(_place(tmp_path, 20))!r} cannot be used: {why}. "
        "Using the one before it."
    ]


def test_a_checkpoint_of_another_step_is_refused(tmp_path):
    store = _store(tmp_path)
    store.save(_checkpoint(10))
    _place(tmp_path, 10).rename(_place(tmp_path, 11))
    assert _message(store.read, 11).endswith("cannot be used: it is of step 10.")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    _store(tmp_path).save(_checkpoint(10))
    other = Layout(["output/kernel", *LAYOUT.weights[1:]], LAYOUT.slots)
    message = _message(_store(tmp_path, layout=other).read, 10)
    assert "weights/output/kernel" in message


class _Bomb:
    """Fails the test if anything unpickles it."""

    def __reduce__(self):
        return pytest.fail, ("a checkpoint was unpickled",)


def _plant(folder, step, arrays):
    """A checkpoint with other arrays and a valid checksum."""
    store = CheckpointStore(folder / "checkpoints", LAYOUT, 3)
    store.save(_checkpoint(step))
    place = _place(folder, step)
    (place / "arrays.npz").write_bytes(arrays)
    _edit_manifest(place, sha256={"arrays.npz": hashlib.sha256(arrays).hexdigest()})
    return store


def _edit_manifest(place, **changes):
    """Changes fields, and the seal with them."""
    manifest = json.loads((place / "manifest.json").read_text()) | changes
    del manifest["seal"]
    text = json.dumps(manifest, sort_keys=True)
    manifest["seal"] = hashlib.sha256(text.encode()).hexdigest()
    (place / "manifest.json").write_text(json.dumps(manifest))


def _npz_of_objects():
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.array([_Bomb()]) for name in LAYOUT.named(_state())})
    return buffer.getvalue()


def _npy():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def _zip_of_text():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in LAYOUT.named(_state()):
            file.writestr(f"{name}.npy", "not an array")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "arrays",
    [_npz_of_objects(), pickle.dumps(_Bomb()), _npy(), _zip_of_text(), b"", b"PK\3\4", b"x"],
    ids=["objects", "pickle", "npy", "text", "nothing", "truncated zip", "one letter"],
)
def test_anything_but_an_archive_of_plain_arrays_is_refused_despite_a_valid_checksum(
    tmp_path, arrays
):
    store = _plant(tmp_path, 10, arrays)
    assert "cannot be used: " in _message(store.read, 10)
    assert store.newest() is None


def _arrays(**changes):
    return LAYOUT.named(_state(10)) | {
        name.replace("__", "/"): array for name, array in changes.items()
    }


def _npz(arrays, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as member:
                np.save(member, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "arrays, why",
    [
        (
            _npz(_arrays(weights__hidden_1__kernel=np.zeros((4, 3), np.float32))),
            "not float32 [5, 3]",
        ),
        (_npz(_arrays(weights__hidden_1__kernel=np.zeros((5, 3)))), "float64 [5, 3], not float32"),
        (_npz(_arrays(), zipfile.ZIP_DEFLATED), "is compressed"),
        (_npz(_arrays(), zipfile.ZIP_LZMA), "is compressed"),
        (_npz(_arrays() | {"more": np.zeros(1 << 20)}), "more than"),
    ],
    ids=["shape", "type", "deflated", "lzma", "larger"],
)
def test_only_arrays_of_the_expected_shapes_and_types_are_read(tmp_path, arrays, why):
    _plant(tmp_path, 10, arrays)
    layout = Layout(LAYOUT.weights, LAYOUT.slots, like=_state())
    assert why in _message(_store(tmp_path, layout=layout).read, 10)


def test_arrays_in_either_order_in_memory_are_read(tmp_path):
    state = _state()
    state.weights[0] = np.asfortranarray(state.weights[0])
    layout = Layout(LAYOUT.weights, LAYOUT.slots, like=_state())
    store = _store(tmp_path, layout=layout)
    store.save(Checkpoint(3, state))
    np.testing.assert_array_equal(store.read(3).state.weights[0], state.weights[0])


def test_a_bomb_of_two_gigabytes_is_not_unpacked(tmp_path):
    """Its checksum and seal are right. The memory of this process would show it."""
    arrays = _arrays()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 29,)}
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in arrays:
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(header.getvalue())
                for _ in range(8 if name.startswith("weights/hidden_1/kernel") else 0):
                    member.write(bytes(1 << 25))
    store = _plant(tmp_path, 10, packed.getvalue())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "is compressed" in _message(store.read, 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16


@pytest.mark.parametrize(
    "changes",
    [{"metrics": 7}, {"metrics": {"loss": []}}, {"sums": [[1]]}, {"sums": [10**400]},
     {"skipped": [-1]}, {"skipped": 5}, {"threads": "4"}, {"test": [1]}],
)  # fmt: skip
def test_a_field_of_another_type_is_refused_despite_a_valid_seal(tmp_path, changes):
    store = _store(tmp_path)
    store.save(_checkpoint(10))
    _edit_manifest(_place(tmp_path, 10), **changes)
    assert "cannot be used: " in _message(store.read, 10)


@pytest.mark.parametrize("name", ["arrays.npz", "manifest.json"])
def test_a_checkpoint_that_is_a_pipe_is_damaged_and_nobody_waits_for_it(tmp_path, name):
    store = _store(tmp_path)
    store.save(_checkpoint(10))
    (_place(tmp_path, 10) / name).unlink()
    os.mkfifo(_place(tmp_path, 10) / name)
    assert "is not a regular file" in _message(store.read, 10)


def test_a_checkpoint_that_cannot_be_read_is_not_skipped(tmp_path, monkeypatch):
    """As with wrong permissions, which do not apply to root: the run must not begin again."""
    store = _store(tmp_path)
    for step in (10, 20):
        store.save(_checkpoint(step))
    denied = str(_place(tmp_path, 20) / "manifest.json")
    real = os.open

    def opened(path, *args, **options):
        if str(path) == denied:
            raise PermissionError(errno.EACCES, "Permission denied", denied)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(WorkdirError, match="cannot be read .Permission denied."):
        store.newest()


@pytest.mark.parametrize(
    "manifest", ["[" * 100_000, "[]", "null", "7", '"x"', '{"sha256": []}', "", "\xff"]
)
def test_a_malformed_manifest_is_refused(tmp_path, manifest):
    store = _store(tmp_path)
    store.save(_checkpoint(10))
    (_place(tmp_path, 10) / "manifest.json").write_bytes(manifest.encode("latin-1"))
    assert "cannot be used: " in _message(store.read, 10)


_SAVING = """
import sys
from pathlib import Path
import numpy as np
from strategies.state import State
from trainer.storage.checkpoints import Checkpoint
from trainer.storage.checkpoints import CheckpointStore
from trainer.storage.checkpoints import Layout
store = CheckpointStore(Path(sys.argv[1]), Layout(["w"], [["m"]]), 2)
first = max(store.steps(), default=0) + 1
print("saving", flush=True)
for step in range(first, 1_000_000):
    arrays = np.full(200_000, step, np.float32)
    store.save(Checkpoint(step, State([arrays], [[arrays]]), {"step": step}))
    print("saved", flush=True)
"""


def test_a_save_that_is_killed_leaves_only_intact_checkpoints(tmp_path):
    numbers, seen = random.Random(0), set()
    store = CheckpointStore(tmp_path, Layout(["w"], [["m"]]), 2)
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", _SAVING, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout.readline() == b"saving\n"
            began = time.monotonic()
            assert process.stdout.readline() == b"saved\n"
            time.sleep(numbers.uniform(0, 2 * (time.monotonic() - began)))  # A moment of a save.
            process.kill()
        for step in store.steps():
            found = store.read(step)
            assert found.metrics == {"step": step}
            assert np.unique(found.state.weights[0]).tolist() == [step]
            assert np.unique(found.state.slots[0][0]).tolist() == [step]
            seen.add(step)
    assert len(seen) > 3
    last = np.zeros(1)
    store.save(Checkpoint(max(seen) + 1, State([last], [[last]])))
    assert len(store.steps()) == 2  # The next save removes what the killed ones have not.


def test_a_save_removes_what_a_killed_one_left_behind(tmp_path):
    store = _store(tmp_path)
    leftover = tmp_path / "checkpoints" / ".building-abc"
    leftover.mkdir(parents=True)
    (leftover / "arrays.npz").write_bytes(b"half")
    assert store.steps() == [] and store.newest() is None
    store.save(_checkpoint(1))
    assert not leftover.exists() and store.steps() == [1]


def test_other_files_in_the_folder_are_kept(tmp_path):
    folder = tmp_path / "checkpoints"
    for name in ("step-best", "step-1", "notes"):
        (folder / name).mkdir(parents=True)
    store = _store(tmp_path, keep=1)
    for step in (10, 20):
        store.save(_checkpoint(step))
    assert store.steps() == [20]
    assert all((folder / name).is_dir() for name in ("step-best", "step-1", "notes"))


def test_a_folder_that_cannot_be_created_is_an_error_with_a_fix(tmp_path):
    (tmp_path / "checkpoints").write_text("a file is here")
    assert _message(_store(tmp_path).save, _checkpoint(3)) == (
        "`--workdir` could not store the checkpoint of step 3 (File exists). Received: "
        f"{str(tmp_path / 'checkpoints')!r}; fix this and run the same command again to resume."
    )


def test_a_full_disk_loses_the_new_checkpoint_and_none_of_the_old(tmp_path):
    store = _store(tmp_path, keep=1)
    store.save(_checkpoint(10))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # Like a full disk.
    try:
        message = _message(store.save, _checkpoint(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith(
        "`--workdir` could not store the checkpoint of step 20 (File too large)."
    )
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000000010"]
    _assert_equal(store.newest(), _checkpoint(10))


def _lazy_store(folder) -> CheckpointStore:
    layout = dataclasses.replace(LAYOUT, like=_state())
    return CheckpointStore(folder / "checkpoints", layout, 3, lazily=True)


def test_a_checkpoint_that_is_read_lazily_has_the_same_arrays_also_when_it_is_gone(tmp_path):
    _store(tmp_path).save(_checkpoint(1))
    found = _lazy_store(tmp_path).read(1)
    shutil.rmtree(_place(tmp_path, 1))
    read = State(*_changed(np.array, found.state))
    _assert_equal(dataclasses.replace(found, state=read), _checkpoint(1))


def test_damage_is_found_before_a_lazy_array_is_read(tmp_path):
    _store(tmp_path).save(_checkpoint(1))
    path = _place(tmp_path, 1) / "arrays.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="its checksum differs"):
        _lazy_store(tmp_path).read(1)


def _changed(change, state):
    """(weights, slots) of a state, each array changed."""
    return [*map(change, state.weights)], [[*map(change, own)] for own in state.slots]
