"""Do functions that wait for each other trace one graph, and end together where one of them fails?"""

import threading

import pytest
import tensorflow as tf

from trainer.config.fields import ConfigError
from trainer.model import side_by_side


def _traced(functions, add=tf.add_n):
    return tf.function(lambda: side_by_side.run(functions, add), autograph=False)()


def test_each_sum_is_over_all_functions():
    def function(number):
        def ask(add):
            return add(add(tf.constant(number)) * number)

        return ask

    before = {*threading.enumerate()}
    found = _traced([function(1.0), function(2.0), function(4.0)])
    assert [float(one) for one in found] == [49.0] * 3
    assert {*threading.enumerate()} <= before  # Others, of earlier tests, may end meanwhile.


def test_gradients_of_each_function_are_its_own():
    def function(number):
        def square(add):
            with tf.GradientTape() as tape:
                x = tf.constant(number)
                tape.watch(x)
                total = tf.stop_gradient(add(x))
                y = x * x * total
            return tape.gradient(y, x)

        return square

    assert [float(one) for one in _traced([function(1.0), function(3.0)])] == [8.0, 24.0]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_exception_is_raised_where_they_were_called_and_no_thread_is_left(failing):
    def function(index):
        def ask(add):
            add(tf.constant(1.0))
            if index == failing:
                raise KeyError("this one")
            return add(tf.constant(1.0))

        return ask

    before = {*threading.enumerate()}
    with pytest.raises(KeyError, match="this one"):
        _traced([function(index) for index in range(3)])
    assert {*threading.enumerate()} <= before  # Others, of earlier tests, may end meanwhile.


def test_functions_that_ask_unequally_often_are_refused():
    with pytest.raises(ConfigError, match="calls the same layers for every batch"):
        _traced([lambda add: add(tf.constant(1.0)), lambda add: tf.constant(1.0)])


def test_one_function_needs_no_thread():
    before = threading.get_ident()
    (found,) = _traced([lambda add: (threading.get_ident(), add(tf.constant(2.0)))])
    assert found[0] == before and found[1] == 2.0
