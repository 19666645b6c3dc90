"""How do workers train together of which each holds a part of the model?

Each holds its part of the cut weights and of their slots, and a copy of everything else. In a step the
workers of a data group compute the same share of the batch, each the model blocks of its part, and add
activations and their gradients in the middle of the step, over this program's own connections. Then the
workers with the same part add their terms over the data groups, as `multi_worker.py` does. Both sums are
trees over logical blocks, so the weights have the same bits as on one device.

A state outside of the runtime is that of the whole model: `share` cuts it, and `joined` joins the parts
on the leader, one array at a time. `start` and `restore` take this task's part, and `state` returns it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from strategies import variables
from strategies.choose import Choice
from strategies.cluster.mesh_shape import MeshShape
from strategies.cluster.spec import ClusterSpec
from strategies.collectives.all_reduce import SocketAllReduce, aligned
from strategies.compiled_loop import unflatten, updated
from strategies.held_state import Axes
from strategies.mesh.groups import Groups
from strategies.peers import PeersRuntime, flattened
from strategies.rendezvous.membership import Membership
from strategies.runtime import Key, Program, ReplicaInput
from strategies.state import Lazy, State

_CONNECT_TIMEOUT_S = 60.0  # Short: the roll call has shown that every worker is running.


class MeshRuntime(PeersRuntime):
    """Data groups of workers, each of which holds a part of the model. A replica is a data group."""

    name = "mesh"
    sync_mode = "gradients"
    adds_within_step = True
    holds_part = shares_state = True

    def __init__(
        self, reason: str, device: str, shape: MeshShape, rank: int, all_: SocketAllReduce
    ):
        self.reason, self._device = reason, device
        self.device_type = tf.DeviceSpec.from_string(device).device_type
        self.model_part = shape.part(rank)
        self._groups = Groups(shape, rank, all_)
        self._is_leader = rank == 0
        # Those among which the blocks of a batch are divided.
        self.exchange, self.rank = self._groups.data, shape.group(rank)
        self.num_replicas = self.num_workers = shape.data
        self.local_replicas = range(self.rank, self.rank + 1)
        self._pending: list[tf.Tensor] = []

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "MeshRuntime":
        assert peers is not None and choice.mesh is not None  # It is a strategy of several tasks.
        exchange = SocketAllReduce.connect(
            cluster, peers.run, peers.security, _CONNECT_TIMEOUT_S, shares_memory=False
        )
        return cls(choice.reason, devices[0], choice.mesh, cluster.process_index, exchange)

    # What is exchanged between steps.

    @property
    def everyone(self) -> SocketAllReduce:
        return self._groups.everyone

    def all_agree(self, answer: bool) -> bool:
        return self.total(float(not answer)) == 0

    def share(self, axes: Axes, state: State) -> State:
        def own(array: Any, axis: int | None) -> np.ndarray:
            # One at a time: no task holds more than its part and one whole array.
            held = (
                np.array(array, order="C")
                if self._is_leader
                else np.empty(array.shape, array.dtype)
            )
            self.everyone.broadcast(held)
            return self.model_part.of(held, axis)

        return _each(axes, state, own)

    def joined(self, axes: Axes, state: State) -> State:
        def whole(array: Any, axis: int | None) -> Any:
            if not self._is_leader:
                if axis is not None:
                    self._groups.send_to_leader(np.array(array, order="C"))
                return array
            if axis is None:
                return np.array(array)

            def read() -> np.ndarray:
                return self._groups.receive_parts(np.array(array), axis)

            return Lazy(self.model_part.whole(array.shape, axis), array.dtype, read)

        return _each(axes, state, whole)

    @property
    def exchange_s(self) -> float:  # type: ignore[override]
        return self._groups.seconds

    def waiting_for(self) -> str:
        return self._groups.waiting_for()

    def set_peer_timeout(self, seconds: float) -> None:
        self._groups.set_peer_timeout(seconds)

    # Training.

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        self._program, self._train, self._test = program, train, test
        with tf.device(self._device):
            self._variables = tf.nest.map_structure(tf.Variable, state.parts)
            self._resident = tuple(map(tf.constant, train.resident))
            self._test_resident = tuple(map(tf.constant, test.resident))
        self._sent_in_steps = self._steps = 0

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        (element,) = elements
        stops = self.total(float(stop)) > 0
        before = self._groups.sent_bytes
        steps = tf.constant(first_step), tf.constant(num_steps)
        self._pending.append(self.called(self._loop, self._resident, element, *steps))
        self._sent_in_steps += self._groups.sent_bytes - before
        self._steps += num_steps
        return stops

    def exchanged(self, steps: int) -> dict[str, int]:
        """The bytes are those that this task sent, on average over the steps that it took itself."""
        each = self._sent_in_steps / max(1, self._steps)
        return {"agreements": steps, "update_bytes": round(steps * each)}

    def collect(self) -> np.ndarray:
        return variables.collected(self._pending, self._program.num_sums)

    def evaluate(self, batches: Iterator[tuple]) -> np.ndarray:
        found = []
        for (element,) in batches:
            mine = self.called(self._evaluation, self._test_resident, element).numpy()
            found.append(self.all_blocks(mine[:, np.newaxis], self._test.runs))
        return np.concatenate(found).astype(np.float64)

    def restore(self, state: State) -> None:
        variables.assign(self._variables, state.parts)

    def state(self) -> State:
        return State(*tf.nest.map_structure(lambda variable: variable.numpy(), self._variables))

    def view(self) -> State:
        def lazy(variable: tf.Variable) -> Lazy:
            return Lazy(variable.shape, variable.dtype.as_numpy_dtype, variable.numpy)

        return State(*tf.nest.map_structure(lazy, self._variables))

    @tf.function(autograph=False)
    def _loop(self, resident, element, first_step, num_steps):
        """float32 [num_sums]: the sums of these steps over all data groups."""
        with tf.device(self._device):
            stacked_batches = self._train.stacked_batches(resident, element)
            roots = self._train.runs.roots[self.rank]
            sizes = tuple(map(len, roots))

            def step(i, so_far):
                batch = tuple(tf.gather(array, i) for array in stacked_batches)
                weights, slots, layer_state = variables.read(self._variables)
                key = Key(first_step + i, roots[0].start)
                found = self._program.partial_sums(
                    weights, batch, layer_state, key, sizes, add_parts=self._add_parts
                )
                terms, sums = self._over_data(found)
                state = weights, slots, layer_state
                variables.assign(self._variables, updated(self._program, state, terms, sums[-1]))
                return i + 1, so_far + sums

            start = tf.constant(0), tf.zeros([self._program.num_sums])
            # One after another, as the steps exchange.
            return tf.while_loop(lambda i, _: i < num_steps, step, start, parallel_iterations=1)[1]

    @tf.function(autograph=False)
    def _evaluation(self, resident, element):
        """float32 [k, num_sums]: the sums of this data group's blocks."""
        with tf.device(self._device):
            weights, slots, layer_state = variables.read(self._variables)
            weights = self._program.evaluated(weights, slots)
            return tf.map_fn(
                lambda batch: self._program.sums(weights, batch, layer_state, self._add_parts),
                self._test.stacked_batches(resident, element),
                fn_output_signature=tf.TensorSpec([self._program.num_sums], tf.float32),
                parallel_iterations=1,
            )

    def _over_data(self, found):
        """Terms and sums, added over the blocks of all data groups."""
        if self.num_replicas == 1:
            return found[0]
        parts, grouped = flattened(found)

        def exchange(*parts: np.ndarray) -> np.ndarray:
            own = grouped(parts)
            total = aligned(sum(part.size for part in own[0]))
            return self._exchanged(self._groups.data, own, total, self._train.runs)

        total = tf.numpy_function(exchange, parts, tf.float32, stateful=True)
        shapes = [*self._program.term_shapes, (self._program.num_sums,)]
        *terms, sums = unflatten(total, shapes)
        return terms, sums

    def _add_parts(self, vectors):
        """float32 [n]: the sum over the model blocks of all parts. `vectors`: one for each subtree."""

        def exchange(*own: np.ndarray) -> np.ndarray:
            total, runs = aligned(own[0].size), self._program.model_runs
            return self._exchanged(self._groups.parts, [[one] for one in own], total, runs)

        total = tf.numpy_function(exchange, vectors, tf.float32, stateful=True)
        total.set_shape(vectors[0].shape)
        return total

    def _exchanged(self, among: SocketAllReduce, own, total, runs) -> np.ndarray:
        with self.exchanging():
            among.sum_runs(own, total, runs)
        return total


def _each(axes: Axes, state: State, change: Callable) -> State:
    """The state of `change(array, axis)` of each array, called in the order of `State.flat_arrays`."""
    weights, slots, layer_state = axes
    return State(
        [change(*pair) for pair in zip(state.weights, weights, strict=True)],
        [
            [change(*pair) for pair in zip(own, cut, strict=True)]
            for own, cut in zip(state.slots, slots, strict=True)
        ],
        [change(*pair) for pair in zip(state.layer_state, layer_state, strict=True)],
    )
