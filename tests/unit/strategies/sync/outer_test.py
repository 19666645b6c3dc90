"""Is the agreement's optimizer the one of the papers?"""

import numpy as np
import pytest

from strategies.sync.outer import Outer

UPDATES = [np.array([1.0, -2.0]), np.array([0.5, 0.25]), np.array([-3.0, 1.0])]


def _run(outer: Outer) -> list[np.ndarray]:
    """The weights after each of the updates, from zeros."""
    weight, velocities, found = np.zeros(2), outer.initial([np.zeros(2)]), []
    for update in UPDATES:
        (step,), velocities = outer.steps([update], velocities)
        weight = weight + step
        found.append(weight)
    return found


def test_none_adds_the_mean_update():
    np.testing.assert_array_equal(_run(Outer())[-1], sum(UPDATES))


def test_sgd_without_momentum_scales_it():
    np.testing.assert_allclose(_run(Outer("sgd", 0.5))[-1], 0.5 * sum(UPDATES), rtol=1e-15)


@pytest.mark.parametrize("nesterov", [False, True])
def test_with_momentum_it_takes_the_steps_of_keras_sgd(nesterov):
    """Whose velocity has the learning rate in it, which is the same where that is constant."""
    import keras

    optimizer = keras.optimizers.SGD(0.7, momentum=0.9, nesterov=nesterov)
    weight = keras.Variable(np.zeros(2), dtype="float64")
    optimizer.build([weight])
    found = _run(Outer("nesterov" if nesterov else "sgd", 0.7, 0.9))
    for update, mine in zip(UPDATES, found, strict=True):
        optimizer.apply([-update])
        np.testing.assert_allclose(mine, weight.numpy(), rtol=1e-6)


def test_only_momentum_is_remembered():
    weights = [np.zeros((2, 3)), np.zeros(4)]
    assert Outer().initial(weights) == Outer("sgd", 0.5).initial(weights) == []
    found = Outer("nesterov", 0.7, 0.9).initial(weights)
    assert [(one.shape, one.dtype) for one in found] == [((2, 3), np.float32), ((4,), np.float32)]
