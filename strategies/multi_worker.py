"""How do workers on several machines train together, without parameter servers?

Each keeps its own copy of the state, as in `mirrored.py`, and computes the gradients of its share of
the batch in compiled code; between one step's gradients and their update comes a `SocketAllReduce`,
over connections of this program's own. One compiled call does a step's update and the next one's
gradients, so that what is not arithmetic is paid once a step.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.collectives.all_reduce import PeerLost, SocketAllReduce, aligned
from strategies.mirrored import MirroredRuntime
from strategies.rendezvous.membership import Membership
from strategies.runtime import NUM_SUMS, Program, ReplicaInput, State

_CONNECT_TIMEOUT_S = 60.0  # All are here, and running: that much the roll call has shown.


class MultiWorkerRuntime(MirroredRuntime):
    """Synchronous data parallelism over the chief and workers of a cluster."""

    name = "multi_worker"

    def __init__(
        self, reason: str, device: str, replicas: int, rank: int, exchange: SocketAllReduce
    ):
        one = tf.distribute.MirroredStrategy([device])
        super().__init__(reason, one, first_device=0, replicas_per_device=replicas)
        self.num_replicas = replicas * exchange.num_workers
        self.local_replicas = range(rank * replicas, (rank + 1) * replicas)
        self._rank = rank
        self._exchange = exchange
        self._failure: PeerLost | None = None

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership
    ) -> "MultiWorkerRuntime":
        exchange = SocketAllReduce.connect(cluster, peers.token, _CONNECT_TIMEOUT_S)
        return cls(choice.reason, devices[0], len(devices), cluster.process_index, exchange)

    def broadcast(self, values: Any) -> Any:
        arrays = [np.array(value, order="C") for value in tf.nest.flatten(values)]
        for array in arrays:
            self._exchange.broadcast(array)
        return tf.nest.pack_sequence_as(values, arrays)

    def waiting_for(self) -> str:
        return " and ".join(map(str, self._exchange.waiting_for))

    def set_peer_timeout(self, seconds: float) -> None:
        self._exchange.silence_s = seconds

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        super().start(program, state, train, test, num_steps)
        size = sum(weight.size for weight in state.weights)
        self._total = aligned(size + NUM_SUMS + 1)
        # Without tf.distribute's wrapping compiled code updates them in place.
        self._weights, self._slots = tf.nest.map_structure(
            lambda variable: self._strategy.experimental_local_results(variable)[0],
            (self._weights, self._slots),
        )

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        if self._exchange.num_workers == 1:
            return super().run(first_step, num_steps, elements, stop)
        (element,) = self._joined(elements)
        (resident,) = self._strategy.experimental_local_results(self._resident)
        try:
            sums, stops = self._loop(
                resident, element, tf.constant(num_steps), tf.constant(float(stop))
            )
        except tf.errors.OpError:
            if self._failure:
                raise self._failure from None
            raise
        self._pending.append(sums)
        return bool(stops > 0)

    def _blocks(self, elements: tuple) -> np.ndarray:
        """The blocks of every worker's replicas, in order."""
        mine = super()._blocks(elements).reshape(-1, 1, len(self.local_replicas), NUM_SUMS)
        own = np.zeros((len(mine), self._exchange.num_workers, *mine.shape[2:]), np.float32)
        own[:, self._rank : self._rank + 1] = mine
        blocks = np.empty(own.size, np.float32)
        self._exchange.sum([own.reshape(-1)], blocks)
        return blocks.reshape(-1, NUM_SUMS)

    @tf.function(autograph=False)
    def _loop(self, resident, element, num_steps, stop):
        stacked_batches = self._train.stacked_batches(resident, element)
        gradients, sums = self._compiled_gradients(self._read()[0], _row(stacked_batches, 0))
        so_far = tf.zeros([NUM_SUMS + 1])

        def step(i, gradients, sums, so_far):
            total = self._summed(gradients, sums, stop)
            return i + 1, *self._compiled_turn(total, so_far, _row(stacked_batches, i))

        _, gradients, sums, so_far = tf.while_loop(
            lambda i, *_: i < num_steps,
            step,
            (tf.constant(1), gradients, sums, so_far),
            parallel_iterations=1,
        )
        total = self._summed(gradients, sums, stop)
        self._compiled_step(total)
        so_far += total[-(NUM_SUMS + 1) :]
        return so_far[:NUM_SUMS], so_far[NUM_SUMS]

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_turn(self, total, so_far, batch):
        """One step's update, and the gradients of the next."""
        weights = self._compiled_step(total)
        gradients, sums = self._program.gradients(weights, batch)
        return gradients, sums, so_far + total[-(NUM_SUMS + 1) :]

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_step(self, total):
        """Updates the state, and gives the weights."""
        weights, slots = self._compiled_update(*self._read(), total)
        self._assign(weights, slots)
        return weights

    def _summed(self, gradients, sums, stop):
        total = tf.numpy_function(
            self._sum, [*gradients, sums, stop[tf.newaxis]], tf.float32, stateful=True
        )
        total.set_shape([self._total.size])
        return total

    def _sum(self, *parts: np.ndarray) -> np.ndarray:
        try:
            self._exchange.sum(parts, self._total)
        except PeerLost as error:
            self._failure = error  # TensorFlow would make another error of it.
            raise
        return self._total


def _row(stacked_batches: tuple, i) -> tuple:
    # Outside compiled code, which was measured to be slower with all the batches as its argument.
    return tuple(tf.gather(array, i) for array in stacked_batches)
