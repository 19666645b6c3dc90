"""How are the blocks of a batch traced where they depend on each other?

`run` traces one function for each block, each in a thread of its own, of which only one runs at a time.
Where a function asks for a sum over all blocks, its thread waits until the others ask too. So a graph is
written in the same order in every process, and each block's part of it is the same as without the others.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras.src.backend.common import global_state

from trainer.config.fields import ConfigError

Add = Callable[[Any], Any]


def run(functions: Sequence[Callable[[Add], Any]], add: Callable[[list], Any]) -> list[Any]:
    """What the functions return.

    Args:
      functions: each is called with a function of a tensor, which returns what `add` makes of the
        tensors that all of them passed in this call.
      add: called with a list of tensors, one for each function, in their order.

    Raises:
      ConfigError: the functions do not ask equally often, or ask in a graph within this one.
    """
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    if len(functions) == 1:
        return [functions[0](lambda tensor: add([_checked(tensor, graph)]))]
    if graph is not None:
        graph.switch_to_thread_local()
    parts = [_Part(function, graph) for function in functions]
    try:
        answer = None
        while True:
            asked = [part.resume(answer) for part in parts]
            if all(part.is_done for part in parts):
                return asked
            if any(part.is_done for part in parts):
                raise ConfigError(
                    "`get_model` must return a model that calls the same layers for every batch, with "
                    "`model.batch_norm` global. Received: one that does not; set it to block."
                )
            answer = add([_checked(tensor, graph) for tensor in asked])
    finally:
        for part in parts:
            part.abandon()


def _checked(tensor: Any, graph: Any) -> Any:
    if graph is not None and tensor.graph is not graph:
        raise ConfigError(
            "`model.batch_norm` must be block for a model that calls BatchNormalization within a loop, a "
            "condition or a tf.function. Received: 'global'; set it to block, or call the layer outside."
        )
    return tensor


class _Abandoned(BaseException):
    """Ends the thread of a function that nobody waits for any more."""


class _Part(threading.Thread):
    """One function, which runs only while `resume` waits for it."""

    def __init__(self, function: Callable[[Add], Any], graph: Any):
        super().__init__(daemon=True)
        # A new thread would be converted by autograph.
        self._function = tf.autograph.experimental.do_not_convert(function)
        self._graph = graph
        self._settings = dict(global_state.GLOBAL_STATE_TRACKER.__dict__)
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._asked: queue.SimpleQueue = queue.SimpleQueue()
        self.is_done = False
        self.start()

    def resume(self, answer: Any) -> Any:
        """The tensor that it asks with, or what it returned. Raises its exception."""
        self._answers.put(answer)
        found = self._asked.get()
        if isinstance(found, _Failed):
            raise found.error
        return found

    def abandon(self) -> None:
        if self.is_alive():
            self._answers.put(_Abandoned())
            self.join()

    def run(self) -> None:
        try:
            self._wait()
            # Keras's settings, such as the policy for dtypes, are a thread's own.
            global_state.GLOBAL_STATE_TRACKER.__dict__.update(self._settings)
            with self._graph.as_default() if self._graph is not None else contextlib.nullcontext():
                found = self._function(self._ask)
        except BaseException as error:  # It is raised where the function was called.
            found = _Failed(error)
        self.is_done = True
        self._asked.put(found)

    def _ask(self, tensor: Any) -> Any:
        self._asked.put(tensor)
        return self._wait()

    def _wait(self) -> Any:
        answer = self._answers.get()
        if isinstance(answer, _Abandoned):
            raise answer
        return answer


class _Failed:
    def __init__(self, error: BaseException):
        self.error = error
