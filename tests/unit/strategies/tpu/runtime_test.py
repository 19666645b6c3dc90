"""Can the TPU's compiler compile the program that a TPU would run, with one exchange per step?

The trainer's own loop and evaluation, traced by a real TPUStrategy over 8 cores that do not exist.
`xla_tpu_kernels.txt` lists the operations for which tensorflow-tpu has kernels; `tests/tpu` compares the
list with the package. `make test-tpu` traces the same on tensorflow-tpu's own, older TensorFlow.
"""

import functools
import resource

import numpy as np
import pytest
import tensorflow as tf

from strategies.choose import Choice
from strategies.errors import Resumable
from strategies.state import State
from strategies.tpu.trace import Traced, trace_only_strategy
from tests.paths import ROOT
from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.data import recipe_data, registry
from trainer.estimate import tpu_program
from trainer.storage.workdir import Workdir
from trainer.training import assemble

_LISTED = ROOT / "tests" / "tpu" / "xla_tpu_kernels.txt"
_CORES = 8
_BATCH = {"data.global_batch_size": "96"}
# Every recipe whose data needs no download, every optimizer, both placements, and clipping.
_CASES = {
    "digits_dense": {},
    "dense_100": {},
    "linear_100": {},
    "relu_regression": {},
    "digits_dense, streamed": {"data.placement": "stream"},
    "digits_dense, clipped": {"optimizer.global_clipnorm": "0.5"},
    "digits_dense, adamw": {"optimizer.name": "adamw"},
    "digits_dense, rmsprop": {"optimizer.name": "rmsprop"},
    "digits_dense, adagrad": {"optimizer.name": "adagrad"},
}


def _trace(config, dataset, **kwargs):
    return tpu_program.trace(
        lambda runtime: assemble.computation(config, dataset, runtime), _CORES, **kwargs
    )


@functools.cache
def _program(case="digits_dense"):
    config = config_load.resolve(case.partition(",")[0], _CASES[case] | _BATCH)
    return _trace(config, registry.load(config.data))


def _loop_inputs(program):
    """The inputs of the first loop, one per core."""
    computation = program.computation
    return next(computation.train_input.loop_inputs(computation.schedule.loops(0)))


@pytest.fixture(scope="session")
def with_kernel():
    return set(_LISTED.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("case", _CASES)
def test_every_operation_of_a_loop_has_a_tpu_kernel_and_every_shape_is_known(case, with_kernel):
    loop = _program(case).loop
    assert set(loop.counts()) - with_kernel == set()
    assert loop.open_shapes() == []


@pytest.mark.parametrize("case", _CASES)
def test_a_step_exchanges_one_vector_of_all_gradients_and_sums(case):
    program = _program(case)
    exchanges = [op for op in program.loop.walk() if op.type == "CrossReplicaSum"]
    weights = sum(weight.size for weight in program.runtime.state().weights)
    assert [op.inputs[0].shape for op in exchanges] == [weights + 3]
    assert exchanges[0] not in program.loop.operations  # It is in the body of the loop over steps.


@pytest.mark.parametrize("case", _CASES)
def test_an_evaluation_exchanges_nothing_on_the_cores(case, with_kernel):
    evaluation = _program(case).evaluation
    assert set(evaluation.counts()) - with_kernel == set()
    assert evaluation.open_shapes() == []
    assert evaluation.counts()["CrossReplicaSum"] == 0


@pytest.fixture
def own_model(monkeypatch):
    """The traced program of a recipe's own model, with batch normalization and dropout."""
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")  # The recipe sets it.
    config = config_load.resolve(str(ROOT / "tests" / "recipes" / "cnn.py"), _BATCH)
    yield _trace(config, recipe_data.load(config))
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def test_a_recipes_own_model_is_traced_with_its_layer_state_in_the_exchange(own_model, with_kernel):
    for traced in (own_model.loop, own_model.evaluation):
        assert set(traced.counts()) - with_kernel == set()
        assert traced.open_shapes() == []
    exchanges = [op for op in own_model.loop.walk() if op.type == "CrossReplicaSum"]
    state = own_model.runtime.state()
    averages = [array for array in state.layer_state if array.dtype == np.float32]
    assert [array.shape for array in averages] == [(4,), (4,)]
    numbers = sum(array.size for array in (*state.weights, *averages))
    # The loss, the accuracy's own two variables, and the number of examples.
    assert [op.inputs[0].shape for op in exchanges] == [numbers + 4]


def test_gradients_are_clipped_after_the_exchange():
    def before(case):
        (exchange,) = (op for op in _program(case).loop.walk() if op.type == "CrossReplicaSum")
        return sorted(op.type for op in _ancestors(exchange))

    clipped, plain = "digits_dense, clipped", "digits_dense"
    assert before(clipped) == before(plain)
    assert _program(clipped).loop.counts() != _program(plain).loop.counts()


def _ancestors(operation):
    found, rest = set(), [operation]
    while rest:
        operation = rest.pop()
        found.add(operation)
        rest += [tensor.op for tensor in operation.inputs if tensor.op not in found]
    return found


@pytest.mark.parametrize("case, arrays", [("digits_dense", 1), ("digits_dense, streamed", 3)])
def test_only_indices_are_sent_with_a_call_where_the_data_is_resident(case, arrays):
    inputs = [op.outputs[0] for op in _program(case).loop.inputs]
    sent = [tensor for tensor in inputs if tensor.dtype != tf.resource]
    # The replica's number and the number of steps are always sent.
    assert len(sent) == 2 + arrays
    indices = _loop_inputs(_program(case))[0][0]
    assert (indices.dtype, indices.shape) in [(one.dtype, one.shape) for one in sent]


def test_a_checkpoint_is_evaluated_on_the_cores_of_a_tpu(monkeypatch, tmp_path, with_kernel):
    monkeypatch.setattr(
        "strategies.tpu.runtime.connect", lambda *unused: trace_only_strategy(_CORES)
    )
    config = config_load.resolve("digits_dense", {})
    evaluator = assemble.checkpoint_evaluator(
        config, Choice("tpu", "asked for", "local"), [], Workdir(tmp_path)
    )
    test = evaluator.monitored
    assert test.loops[0].num_steps * _CORES >= 2  # Two blocks of 300 examples, and padding.
    blocks = next(test.pipeline.loop_inputs(test.loops))
    traced = Traced(evaluator.runtime.traced_evaluation(blocks))
    assert set(traced.counts()) - with_kernel == set()
    assert traced.open_shapes() == []


def test_without_values_the_program_is_the_same_and_no_copy_of_the_model_is_in_memory():
    config = config_load.resolve("digits_dense", _BATCH)
    dataset = registry.load(config.data)
    bare = _trace(config, dataset, with_values=False)
    assert bare.loop.counts() == _program().loop.counts()
    assert bare.evaluation.counts() == _program().evaluation.counts()
    inputs = [
        [(op.outputs[0].dtype, op.outputs[0].shape) for op in program.loop.inputs]
        for program in (bare, _program())
    ]
    assert inputs[0] == inputs[1]
    large = config_load.resolve("digits_dense", _BATCH | {"model.hidden_units": "50000"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = _trace(large, dataset, with_values=False).state
    weights = sum(weight.nbytes for weight in held.weights)
    assert weights > 150e6  # And 24 times as much, with the slots, on all cores.
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < weights


def test_restore_sets_the_copy_on_every_core_and_state_reads_it_back():
    runtime = _program().runtime
    state = runtime.state()
    runtime.restore(
        State([w + 1 for w in state.weights], [[s * 0 for s in o] for o in state.slots])
    )
    for variable, weight in zip(runtime.variables[0], state.weights, strict=True):
        copies = runtime.strategy.experimental_local_results(variable)
        assert len(copies) == _CORES
        assert all(np.array_equal(copy, weight + 1) for copy in copies)
    assert not any(np.any(slot) for own in runtime.state().slots for slot in own)
    runtime.restore(state)


def test_a_batch_that_does_not_divide_evenly_among_the_cores_is_refused():
    config = config_load.resolve("digits_dense", {"data.global_batch_size": "100"})
    with pytest.raises(ConfigError) as caught:
        _trace(config, registry.load(config.data))
    assert str(caught.value) == (
        "`data.global_batch_size` must divide evenly among replicas. Received: 100 for 8 replicas; "
        "try 96 or 104."
    )


@pytest.mark.parametrize("error", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_a_tpu_lost_during_a_run_ends_it_with_a_resumable_error(error, monkeypatch):
    def lost(*unused):
        raise error(None, None, "socket closed")

    program = _program()
    monkeypatch.setattr(program.runtime, "_loop", lost)
    with pytest.raises(Resumable, match=rf"the TPU was lost, or preempted \({error.__name__}\); "):
        program.runtime.run(0, 1, _loop_inputs(program), False)


@pytest.mark.parametrize(
    "body, found",
    [
        (lambda x: tf.numpy_function(np.sin, [x], tf.float32), "PyFunc"),
        (lambda x: tf.random.experimental.index_shuffle(3, [1, 2], 9), "RandomIndexShuffle"),
    ],
)
def test_an_operation_without_a_kernel_would_be_found(body, found, with_kernel):
    assert _traced(body).counts().keys() - with_kernel == {found}


def test_a_shape_that_depends_on_values_would_be_found():
    assert "Where:0 (None, 1)" in _traced(lambda x: tf.where(x > 0)).open_shapes()


def _traced(body):
    strategy = trace_only_strategy(2)

    def replica(x):  # A lambda breaks TPUStrategy.
        return body(x)

    @tf.function(autograph=False)
    def step(x):
        return strategy.run(replica, args=(x,))

    return Traced(step.get_concrete_function(tf.ones([4])))
