"""Do the programs for 8 cores of a TPU compute what one device does?

Both train four steps of 48 of 106 examples: two whole batches, a short one of 10, of which most cores get
no example, and the first of the next epoch. The HLO to which TensorFlow's TPU kernels lower the loop runs
on 8 virtual devices, with its exchange.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

from strategies.compiled_loop import fused_steps
from strategies.runtime import Key
from strategies.tpu.lowering import lower
from tests.cluster import reference
from tests.tpu import virtual_devices
from trainer.config import load as config_load
from trainer.data import registry
from trainer.estimate import tpu_program
from trainer.order.sample_order import PADDING, SampleOrder
from trainer.training import assemble, programs

_CORES, _EXAMPLES, _BATCH, _STEPS = 8, 106, 48, 4
_FLAGS = {
    "data.train_examples": str(_EXAMPLES),
    "data.global_batch_size": str(_BATCH),
    "train.steps": str(_STEPS),
    "train.eval_every_epochs": "0",
    "train.checkpoint_every_steps": "0",
}
_CASES = {
    "digits_dense": {},
    "linear_100": {},
    # The gradients' norms are near 1, so clipping removes more than half.
    "digits_dense, clipped": {"optimizer.global_clipnorm": "0.3", "optimizer.name": "sgd"},
    "digits_dense, streamed": {"data.placement": "stream"},
}
_EACH = pytest.mark.parametrize("case", _CASES)


def _config(case):
    return config_load.resolve(case.partition(",")[0], {**_FLAGS, **_CASES[case]})


class _Cores:
    """The state of each core, changed by the programs that are called."""

    def __init__(self, program):
        runtime = program.runtime
        variables = [*tf.nest.flatten(runtime.variables)]
        variables += [*runtime.resident, *runtime.test_resident]
        self._weights = [_handle(variable) for variable in runtime.variables[0]]
        self._values = {
            _handle(variable): np.stack([copy.numpy() for copy in variable.values])
            for variable in variables
        }

    @property
    def weights(self) -> list[np.ndarray]:
        """[cores, ...] each."""
        return [self._values[handle] for handle in self._weights]

    def call(self, lowered, *arguments) -> list[np.ndarray]:
        """Calls a program, which changes the state; returns its outputs, [cores, ...] each."""
        sent = [np.arange(_CORES, dtype=np.int32), *arguments]
        held = [self._values[id(handle)] for handle in lowered.variables]
        outputs = virtual_devices.run(lowered.hlo, [*sent, *held])
        last = outputs[lowered.num_outputs :]
        self._values |= dict(zip(map(id, lowered.assigned), last, strict=True))
        return outputs[: lowered.num_outputs]


def _handle(variable) -> int:
    return id(variable._packed_var.packed_handle)


def _stacked(inputs) -> list[np.ndarray]:
    return [np.stack(arrays) for arrays in zip(*inputs, strict=True)]


@functools.cache
def _on_a_tpu(case):
    """(the weights of each core, the sums of each loop, the sums of every block of the test set)"""
    config = _config(case)
    dataset = registry.load(config.data)
    program = tpu_program.trace(lambda one: assemble.computation(config, dataset, one), _CORES)
    computation = program.computation
    cores, loop = _Cores(program), lower(program.loop)
    loops, sums = [*computation.schedule.loops(0)], []
    for one, inputs in zip(loops, computation.train_input.loop_inputs(loops), strict=True):
        steps = np.tile(np.int32([one.first_step, one.num_steps]), (_CORES, 1))
        sums += cores.call(loop, *_stacked(inputs), steps)
    evaluation = lower(program.evaluation)
    test = computation.test_input
    tests = [
        cores.call(evaluation, *_stacked(inputs))[0].reshape(-1, 3)
        for inputs in test.pipeline.loop_inputs(test.loops)
    ]
    return cores.weights, sums, np.concatenate(tests)


@functools.cache
def _expected(case):
    config = _config(case)
    dataset = registry.load(config.data)
    order = SampleOrder(_EXAMPLES, _BATCH, seed=0)
    batches = [row[row != PADDING] for row in order.steps_batches(0, _STEPS)]
    weights = programs.training_program(config, dataset).initial_weights()
    return reference.reference(config, dataset, weights, batches)


@_EACH
def test_all_cores_hold_the_same_bits_and_have_seen_every_example(case):
    weights, sums, tests = _on_a_tpu(case)
    assert all(np.array_equal(one, weight[0]) for weight in weights for one in weight)
    assert [one[:, 2].tolist() for one in sums] == [[_EXAMPLES] * _CORES, [_BATCH] * _CORES]
    assert tests[:, 2].sum() == len(registry.load(_config(case).data).test)


@_EACH
def test_weights_and_losses_are_those_of_exact_arithmetic_up_to_rounding(case):
    weights, sums, tests = _on_a_tpu(case)
    losses = {
        "final_loss": sums[-1][0, 0] / sums[-1][0, 2],
        "test_loss": tests[:, 0].sum(dtype=np.float64) / tests[:, 2].sum(),
    }
    excess = _expected(case).excess([weight[0] for weight in weights], losses)
    assert max(excess.values()) <= 1, excess


@_EACH
def test_one_device_with_the_same_tensorflow_is_within_rounding_too(case):
    """Without XLA: this build of TensorFlow has no compiler for the CPU."""
    config, dataset = _config(case), registry.load(_config(case).data)
    program = programs.training_program(config, dataset)
    state, rows = program.initial_state().parts, SampleOrder(_EXAMPLES, _BATCH, seed=0)
    for first, count in ((0, 3), (3, 1)):
        indices = rows.steps_batches(first, count)
        stacked_batches = dataset.train.features[indices], dataset.train.targets[indices]
        stacked_batches = tuple(
            map(tf.constant, (*stacked_batches, (indices != PADDING).astype(np.float32)))
        )
        step = tf.function(fused_steps, autograph=False)
        key = Key(tf.constant(first), 0)
        state, sums = step(program, state, stacked_batches, tf.constant(count), key)
    losses = {
        "final_loss": float(sums[0] / sums[2]),
        "test_loss": _expected(case).exact.losses["test_loss"],
    }
    excess = _expected(case).excess([weight.numpy() for weight in state[0]], losses)
    assert max(excess.values()) <= 1, excess


def test_the_tolerance_would_detect_gradients_clipped_on_each_core():
    case = "digits_dense, clipped"
    config, dataset = _config(case), registry.load(_config(case).data)
    exact, largest = reference.Exact(), config.optimizer.global_clipnorm
    net = reference._Net(config, dataset, exact)
    sgd = reference._OPTIMIZERS["sgd"](config.optimizer, exact)
    weights = programs.training_program(config, dataset).initial_weights()
    for row in SampleOrder(_EXAMPLES, _BATCH, seed=0).steps_batches(0, _STEPS):
        shares = [share[share != PADDING] for share in np.split(row, _CORES)]
        mean = [0.0] * len(weights)
        for share in (share for share in shares if len(share)):
            own = reference._clipped(
                net.gradients(weights, dataset.train, share)[1], largest, exact
            )
            part = len(share) / np.sum(row != PADDING)
            mean = [total + part * gradient for total, gradient in zip(mean, own, strict=True)]
        weights = sgd.update(weights, mean)
    excess = _expected(case).excess(weights, _expected(case).exact.losses)
    assert min(value for name, value in excess.items() if name.startswith("weights")) > 5, excess
