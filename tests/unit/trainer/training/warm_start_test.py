"""Are the weights of a run, a checkpoint or a Keras file taken by name, or refused where they differ?"""

import dataclasses

import keras
import numpy as np
import pytest

from strategies.errors import InputError
from strategies.state import State
from trainer.config.schema import ExperimentConfig, ModelConfig
from trainer.data.dataset import Dataset, Split
from trainer.storage import saved_weights
from trainer.storage.checkpoints import Checkpoint
from trainer.storage.workdir import Workdir
from trainer.training import assemble, programs, warm_start

_SPLIT = Split(np.zeros((8, 5), np.float32), np.arange(8, dtype=np.int32) % 3)
DATASET = Dataset("made_up", _SPLIT, _SPLIT, 3, 3, "made up", feature_scale=None)
UNITS = (4,)
# Of Keras's own code that saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _config(units=UNITS, **model) -> ExperimentConfig:
    return ExperimentConfig(model=ModelConfig(hidden_units=units, dropout=0.1, **model))


def _warm(source, skip="", **model) -> State:
    config = _config(initial_weights=str(source), initial_weights_skip=skip, **model)
    program = programs.training_program(config, DATASET)
    return warm_start.state(program, saved_weights.read(str(source)), config.model.skipped)


def message(call, *args, **kwargs) -> str:
    """The error of a call, which must be of one line."""
    with pytest.raises(InputError) as found:
        call(*args, **kwargs)
    assert len(str(found.value).splitlines()) == 1
    return str(found.value)


def _filled(state: State, value: float) -> State:
    return State(
        [np.full_like(one, value) for one in state.weights], state.slots, state.layer_state
    )


@pytest.fixture
def run(tmp_path):
    """A run's folder whose checkpoints have weights of 1, 2 and 3; the second has the lowest loss."""
    config = dataclasses.replace(
        _config(), optimizer=dataclasses.replace(_config().optimizer, ema_momentum=0.5)
    )
    program, workdir = programs.training_program(config, DATASET), Workdir(tmp_path / "run")
    workdir.initialize(config)
    store = assemble.checkpoint_store(config, program, DATASET, workdir, initial_weights="")
    for step, loss in ((1, 0.5), (2, 0.25), (3, None)):
        state = _filled(program.initial_state(), step)
        store.save(Checkpoint(step, state, test=None if loss is None else {"loss": loss}))
    return workdir.path


def _arrays(folder, step):
    return folder / "checkpoints" / f"step-{step:010d}" / "arrays.npz"


def test_of_a_run_the_best_checkpoint_is_taken_and_of_a_checkpoint_that(run):
    assert {float(w.flat[0]) for w in _warm(run).weights} == {2.0}
    assert {float(w.flat[0]) for w in _warm(_arrays(run, 3).parent).weights} == {3.0}
    _arrays(run, 2).write_bytes(b"damaged")
    assert {float(w.flat[0]) for w in _warm(run).weights} == {1.0}
    for step in (1, 3):
        _arrays(run, step).write_bytes(b"damaged")
    assert "hold weights that can be read" in message(_warm, run)


def test_averages_are_taken_once_there_was_an_update(run):
    arrays = saved_weights.read(str(run)).arrays
    assert float(arrays["output/bias"][0]) == 2.0
    with np.load(_arrays(run, 2)) as file:
        named = dict(file)
    for name in named:
        if name.endswith("/iteration"):
            named[name] += 2
        if name.endswith("_average"):
            named[name] += 7
    found = saved_weights._evaluated(named)
    assert {float(found[name].flat[0]) for name in arrays if "/" in name} == {7.0}


def _saved(tmp_path, name="model.keras", layers=("hidden_1", "output"), units=4):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(units, name=layers[0]),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, name=layers[1]),
        ]
    )
    path = tmp_path / name
    model.save(path) if name.endswith(".keras") else model.save_weights(path)
    return path, model.get_weights()


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
@pytest.mark.parametrize("layers", [("hidden_1", "output"), ("other", "names")])
def test_a_file_of_keras_is_taken_by_the_names_of_layers_or_else_by_their_places(
    name, layers, tmp_path
):
    path, expected = _saved(tmp_path, name, layers)
    config = _config()
    program = programs.training_program(config, DATASET)
    seeds = program.initial_state().layer_state
    found = _warm(path)
    assert all(map(np.array_equal, found.weights, expected))
    assert all(map(np.array_equal, found.layer_state, seeds))


def test_other_names_and_shapes_are_refused_unless_they_are_skipped(run, tmp_path):
    deeper = message(_warm, run, units=(4, 4))
    assert "must hold every weight of the model" in deeper
    assert "without hidden_2/kernel, hidden_2/bias" in deeper
    found = _warm(run, "hidden_2", units=(4, 4))
    assert [bool((w == 2).all()) for w in found.weights] == [True, True, False, False, True, True]
    assert "hold only weights that the model has" in message(_warm, run, units=())
    wider = message(_warm, run, "hidden_1", units=(6,))
    assert "`output/kernel` as the model has it, float32 [6, 3]" in wider
    assert "step 2 of" in wider and "with float32 [4, 3]" in wider
    assert "layers are hidden_1, output" in message(_warm, run, "hidden_9")
    path, _ = _saved(tmp_path, layers=("hidden_1", "head"))
    assert "with head/0" not in (text := message(_warm, path)) and "has head/0, head/1" in text
    found = _warm(path, "output,head")
    assert not found.weights[3].any()  # The bias, from the seed.


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", b"\x89HDF\r\n\x1a\n damaged"])
def test_a_damaged_file_is_one_line(content, tmp_path):
    for name in ("a.keras", "a.weights.h5", "a.h5"):
        (tmp_path / name).write_bytes(content)
        text = message(_warm, tmp_path / name)
        assert text.startswith("`model.initial_weights` must hold weights that can be read.")


def test_a_run_resumes_without_them_and_its_checkpoints_name_their_digest(run, tmp_path):
    config = _config(initial_weights=str(run))
    program, workdir = programs.training_program(config, DATASET), Workdir(tmp_path / "new")
    digest = saved_weights.InitialWeights(str(run), None).sha256
    store = assemble.checkpoint_store(config, program, DATASET, workdir, None, digest)
    store.save(Checkpoint(1, program.initial_state()))
    run.rename(tmp_path / "gone")
    assert saved_weights.recorded(workdir.checkpoints) == digest
    again = saved_weights.InitialWeights(str(run), digest).sha256
    store = assemble.checkpoint_store(config, program, DATASET, workdir, None, again)
    assert store.newest().step == 1
    text = message(saved_weights.read, str(tmp_path / "gone"), "another digest")
    assert "must be what the run was begun with" in text


def test_what_a_run_begins_with_is_read_once(run, monkeypatch):
    reads, read = [], saved_weights.read
    monkeypatch.setattr(saved_weights, "read", lambda *args: reads.append(args) or read(*args))
    weights = saved_weights.InitialWeights(str(run), None)
    digest = weights.sha256
    assert weights.sha256 == weights.take().sha256 == digest and len(reads) == 1
    begun = saved_weights.InitialWeights(str(run), digest)  # Its checkpoints are damaged.
    assert begun.sha256 == digest and begun.take().sha256 == digest and len(reads) == 2
    other = saved_weights.InitialWeights(str(run), "0" * 64)
    assert "be what the run was begun with" in message(other.take)


def test_who_only_reads_checkpoints_needs_no_initial_weights(tmp_path):
    config = _config(initial_weights=str(tmp_path / "elsewhere.keras"))
    program, workdir = programs.training_program(config, DATASET), Workdir(tmp_path / "run")
    workdir.initialize(config)
    reader = assemble.checkpoint_store(config, program, DATASET, workdir)
    writer = assemble.checkpoint_store(config, program, DATASET, workdir, None, "ab" * 32)
    writer.save(Checkpoint(1, program.initial_state()))
    assert reader.read(1).step == 1 and saved_weights.recorded(workdir.checkpoints) == "ab" * 32
