"""Is a damaged checkpoint ever read?

Two hundred cases of damage, drawn from the session's seed. In each the newest intact checkpoint is read,
the damaged ones are logged, and no code in them is run.
"""

import hashlib
import io
import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from absl import logging

from strategies.state import State
from tests.cluster import cluster
from tests.faults import runs
from trainer.config import load as config_load
from trainer.data import registry
from trainer.storage.checkpoints import Checkpoint, CheckpointError, CheckpointStore
from trainer.storage.layout import Layout
from trainer.storage.workdir import Workdir
from trainer.training import assemble, programs

STEPS = (10, 20, 30)
LAYOUT = Layout(
    ["hidden_1/kernel", "hidden_1/bias"],
    [["iteration", "momentum"], ["iteration", "momentum"]],
)
REPETITIONS = 5  # Of each of the 40 kinds of damage.


def _checkpoint(step, seed=0):
    numbers = np.random.default_rng([step, seed])
    weights = [numbers.normal(size=shape).astype(np.float32) for shape in ((5, 3), (3,))]
    slots = [[np.array(step, np.int64), weight * 2] for weight in weights]
    return Checkpoint(step, State(weights, slots), {"loss": step / 7, "accuracy": 0.5})


def _store(folder):
    return CheckpointStore(folder, LAYOUT, len(STEPS))


def _place(folder, step):
    return folder / f"step-{step:010d}"


def _is_equal(found, expected):
    arrays, others = LAYOUT.named(found.state), LAYOUT.named(expected.state)
    return (found.step, found.metrics) == (expected.step, expected.metrics) and all(
        (array.dtype, array.shape, array.tobytes())
        == (others[name].dtype, others[name].shape, others[name].tobytes())
        for name, array in arrays.items()
    )


def _cut_short(rng, path, whole):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def _cut_out(rng, path, whole):
    data = path.read_bytes()
    start = rng.randrange(len(data) - 1)
    path.write_bytes(data[:start] + data[rng.randrange(start + 1, len(data)) :])


def _lengthened(rng, path, whole):
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 600)))


def _doubled(rng, path, whole):
    path.write_bytes(path.read_bytes() * 2)


def _bits_flipped(rng, path, whole):
    data = bytearray(path.read_bytes())
    for bit in rng.sample(range(len(data) * 8), rng.choice((1, 1, 2, 50))):
        data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def _zeroed(rng, path, whole):
    """As after a power cut: the length is right, and some blocks were never written."""
    data = path.read_bytes()
    start = rng.randrange(len(data) - 100)
    path.write_bytes(data[:start] + bytes(100) + data[start + 100 :])


def _noise(rng, path, whole):
    path.write_bytes(rng.randbytes(rng.choice((1, 500, path.stat().st_size))))


def _emptied(rng, path, whole):
    path.write_bytes(b"")


def _deleted(rng, path, whole):
    path.unlink()


def _folder_for_file(rng, path, whole):
    path.unlink()
    path.mkdir()


def _dangling_link(rng, path, whole):
    path.unlink()
    path.symlink_to("nowhere")


def _of_another_step(rng, path, whole):
    path.write_bytes((_another(rng, path.parent, whole) / path.name).read_bytes())


def _link_to_another_step(rng, path, whole):
    path.unlink()
    path.symlink_to(_another(rng, path.parent, whole) / path.name)


def _of_another_run(rng, path, whole):
    """The same step of the same model with another seed."""
    step = int(path.parent.name.removeprefix("step-"))
    other = whole.parent / "other"
    _store(other).save(_checkpoint(step, seed=1))
    path.write_bytes((_place(other, step) / path.name).read_bytes())


def _no_folder(rng, place, whole):
    shutil.rmtree(place)


def _empty_folder(rng, place, whole):
    shutil.rmtree(place)
    place.mkdir()


def _file_for_folder(rng, place, whole):
    shutil.rmtree(place)
    place.write_bytes(rng.randbytes(100))


def _folder_of_another_step(rng, place, whole):
    shutil.rmtree(place)
    shutil.copytree(_another(rng, place, whole), place)


def _link_to_the_folder_of_another_step(rng, place, whole):
    shutil.rmtree(place)
    place.symlink_to(_another(rng, place, whole))


def _files_of_two_other_steps(rng, place, whole):
    others = [one for one in sorted(whole.iterdir()) if one.name != place.name]
    for path, other in zip(sorted(place.iterdir()), rng.sample(others, 2), strict=True):
        path.write_bytes((other / path.name).read_bytes())


def _manifest_edited(rng, place, whole):
    """Without an update of the seal."""
    manifest = _manifest(place)
    edits = {
        "step": manifest["step"] + rng.choice((-10, 1, 10)),
        "metrics": {"loss": rng.random()},
        "sha256": {"arrays.npz": rng.randbytes(32).hex()},
        "format": rng.choice((0, 99, None)),
        "seal": rng.randbytes(32).hex(),
    }
    field = rng.choice(sorted(edits))
    (place / "manifest.json").write_text(json.dumps(manifest | {field: edits[field]}))


def _manifest_lacks_a_field(rng, place, whole):
    manifest = _manifest(place)
    del manifest[rng.choice(sorted(manifest))]
    (place / "manifest.json").write_text(json.dumps(manifest))


def _bomb(rng, place, whole):
    """Arrays that run code when they are unpickled, with a valid manifest."""
    arrays = rng.choice((_npz_of_bombs, _zip_of_bombs, _pickled_bomb))()
    (place / "arrays.npz").write_bytes(arrays)
    manifest = _manifest(place) | {"sha256": {"arrays.npz": hashlib.sha256(arrays).hexdigest()}}
    del manifest["seal"]
    seal = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (place / "manifest.json").write_text(json.dumps(manifest | {"seal": seal}))


def _unrelated_files(rng, place, whole):
    (place / "notes.txt").write_text("mine")
    (place.parent / "step-99").mkdir(exist_ok=True)
    (place.parent / f"step-{99:010d}.tar").write_bytes(rng.randbytes(10))


def _linked_from_elsewhere(rng, place, whole):
    shutil.rmtree(place)
    place.symlink_to(whole / place.name)


def _manifest_reformatted(rng, place, whole):
    text = json.dumps(_manifest(place), indent=rng.randrange(8), sort_keys=True)
    (place / "manifest.json").write_text(text)


def _another(rng, place, whole):
    return rng.choice([one for one in sorted(whole.iterdir()) if one.name != place.name])


def _manifest(place):
    return json.loads((place / "manifest.json").read_text())


class _Bomb:
    """Fails the test if anything unpickles it."""

    def __reduce__(self):
        return pytest.fail, ("a checkpoint was unpickled",)


def _npz_of_bombs():
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.array([_Bomb()]) for name in LAYOUT.named(_checkpoint(1).state)})
    return buffer.getvalue()


def _zip_of_bombs():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in LAYOUT.named(_checkpoint(1).state):
            file.writestr(f"{name}.npy", pickle.dumps(_Bomb()))
    return buffer.getvalue()


def _pickled_bomb():
    return pickle.dumps(_Bomb())


TO_A_FILE = (
    _cut_short,
    _cut_out,
    _lengthened,
    _doubled,
    _bits_flipped,
    _zeroed,
    _noise,
    _emptied,
    _deleted,
    _folder_for_file,
    _dangling_link,
    _of_another_step,
    _link_to_another_step,
    _of_another_run,
)
TO_THE_FOLDER = (
    _no_folder,
    _empty_folder,
    _file_for_folder,
    _folder_of_another_step,
    _link_to_the_folder_of_another_step,
    _files_of_two_other_steps,
    _manifest_edited,
    _manifest_lacks_a_field,
    _bomb,
)
HARMLESS = (_unrelated_files, _linked_from_elsewhere, _manifest_reformatted)
# White space in JSON may change.
MAY_BE_HARMLESS = [(damage, "manifest.json") for damage in (_cut_out, _lengthened, _bits_flipped)]
CASES = [
    *((damage, name) for damage in TO_A_FILE for name in ("arrays.npz", "manifest.json")),
    *((damage, "") for damage in (*TO_THE_FOLDER, *HARMLESS)),
]


def _test_id(value):
    if callable(value):
        return value.__name__.strip("_").replace("_", " ")
    return str(value) or "folder"


@pytest.fixture
def warnings_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
    return lines


def _readable(store, folder):
    """The steps whose checkpoints can be read as saved; the errors of the others name them."""
    found = []
    for step in store.steps():
        try:
            assert _is_equal(store.read(step), _checkpoint(step))
            found.append(step)
        except CheckpointError as error:
            message = str(error)
            assert message.startswith(f"the checkpoint {str(_place(folder, step))!r} cannot be ")
            assert len(message.splitlines()) == 1
    return found


@pytest.mark.parametrize("repetition", range(REPETITIONS))
@pytest.mark.parametrize("damage, name", CASES, ids=_test_id)
def test_a_damaged_checkpoint_is_skipped_for_the_one_before_it(
    damage, name, repetition, rng, tmp_path, warnings_logged
):
    folder, whole = tmp_path / "checkpoints", tmp_path / "whole"
    store = _store(folder)
    for step in STEPS:
        store.save(_checkpoint(step))
    shutil.copytree(folder, whole)
    damaged = rng.choice(([30], [30], [20, 30], [10, 30], [10, 20, 30]))
    for step in damaged:
        damage(rng, _place(folder, step) / name, whole)

    readable = _readable(store, folder)
    undamaged = [step for step in STEPS if step not in damaged]
    if damage in HARMLESS:
        assert readable == [*STEPS]
    elif (damage, name) in MAY_BE_HARMLESS:
        assert set(readable) >= set(undamaged)
    else:
        assert readable == undamaged

    newest = store.newest()
    assert newest is None if not readable else _is_equal(newest, _checkpoint(readable[-1]))
    skipped = [step for step in store.steps() if step > max(readable, default=0)]
    assert len(warnings_logged) == len(skipped)
    for step, line in zip(reversed(skipped), warnings_logged, strict=True):
        assert str(_place(folder, step)) in line and line.endswith("Using the one before it.")

    for step in STEPS:  # The run resumes and reaches the same steps again.
        store.save(_checkpoint(step))
    assert _readable(store, folder) == [*STEPS]
    assert sorted(path.name for path in whole.iterdir()) == [f"step-{step:010d}" for step in STEPS]


@pytest.mark.parametrize("damage", [_file_for_folder, _link_to_the_folder_of_another_step])
def test_a_file_or_link_in_the_place_of_a_checkpoint_is_replaced(damage, rng, tmp_path):
    folder, whole = tmp_path / "checkpoints", tmp_path / "whole"
    store = _store(folder)
    for step in STEPS:
        store.save(_checkpoint(step))
    shutil.copytree(folder, whole)
    damage(rng, _place(folder, 30), whole)
    for _ in range(2):
        store.save(_checkpoint(30))
    assert {path.name for path in folder.iterdir()} == {f"step-{step:010d}" for step in STEPS}


def _store_of(folder, seed):
    """The store of a real run, with its initial weights as the checkpoint of step 50 * (seed + 1)."""
    overrides = {"train.seed": str(seed), "data.train_examples": "64"}
    config = config_load.resolve("digits_dense", overrides)
    dataset = registry.load(config.data)
    program = programs.training_program(config, dataset)
    store = assemble.checkpoint_store(config, program, dataset, Workdir(folder))
    weights = program.initial_weights()
    state = State(weights, program.initial_slots(weights))
    store.save(Checkpoint(50 * (seed + 1), state, {}))
    return store


def test_a_checkpoint_of_a_run_with_another_seed_is_skipped(tmp_path, warnings_logged):
    store = _store_of(tmp_path / "mine", seed=0)
    _store_of(tmp_path / "theirs", seed=1)
    for path in (tmp_path / "theirs" / "checkpoints").glob("step-*"):
        shutil.copytree(path, tmp_path / "mine" / "checkpoints" / path.name)
    assert store.steps() == [50, 100]
    assert store.newest().step == 50
    assert "it is of another run, whose `train.seed` was 1, not 0" in warnings_logged[0]


@pytest.mark.parametrize(
    "damage, name",
    [
        (_bits_flipped, "arrays.npz"),
        pytest.param(_folder_of_another_step, "", marks=pytest.mark.long),
    ],
    ids=_test_id,
)
def test_a_run_resumes_from_before_a_damaged_checkpoint_to_the_same_weights(
    damage, name, rng, tmp_path, undisturbed
):
    workdir = tmp_path / "run"
    shutil.copytree(undisturbed.workdir, workdir)
    (workdir / "summary.json").unlink()
    checkpoints = workdir / "checkpoints"
    damage(rng, _place(checkpoints, runs.STEPS) / name, undisturbed.workdir / "checkpoints")

    run = cluster.finished(runs.LAYOUTS["1 process"].start(workdir), workdir)
    assert f"step-{runs.STEPS:010d}' cannot be used" in run.screen
    assert f"resuming at step {runs.STEPS - runs.CHECKPOINT_EVERY}" in run.screen
    assert run.summary["weights_sha256"] == undisturbed.summary["weights_sha256"]
