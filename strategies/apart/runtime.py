"""How do workers train logical replicas that agree from time to time?

Each worker carries a run of the logical replicas, and each of its devices a part of that run. In a round
every replica takes its steps alone, in one call of a compiled function (`round.py`); then the workers add
the replicas' vectors over their own connections, in one tree over all logical replicas, and each makes
the same next state of the sum. So the weights are the same bits on any number of workers and devices.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from strategies import variables
from strategies.apart import replica_state
from strategies.apart.replica_state import AGREEMENTS, UPDATE_BYTES
from strategies.apart.round import Kept, Round, Shared
from strategies.apart.summations import SUMMATIONS
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.collectives.all_reduce import SocketAllReduce
from strategies.collectives.leaf_runs import LeafRuns
from strategies.compiled_loop import block_sums, graph_function
from strategies.peers import PeersRuntime
from strategies.rendezvous.membership import Membership
from strategies.runtime import Key, Program, ReplicaInput
from strategies.state import State
from strategies.sync.federated import Federated

_CONNECT_TIMEOUT_S = 60.0  # Short: the roll call has shown that every worker is running.


class ApartRuntime(PeersRuntime):
    """Logical replicas on the workers of a cluster, or on one machine."""

    adds_within_step = True  # A replica has a whole batch of its own.

    def __init__(
        self, choice: Choice, devices: Sequence[str], rank: int, exchange: SocketAllReduce
    ):
        self.name, self.reason = choice.strategy, choice.reason
        self.agreement = choice.agreement
        self.sync_mode = self.agreement.mode
        self.exchange, self.rank = exchange, rank
        self.num_replicas, self.num_workers = self.agreement.replicas, exchange.num_workers
        self._runs = LeafRuns.even(self.num_replicas, exchange.num_workers)
        self.local_replicas = self._runs.runs[rank]
        # Its test examples are evaluated where each worker has data of its own.
        self._leader_evaluates = isinstance(self.agreement, Federated) and self.agreement.own_data
        summation = SUMMATIONS[self.agreement.summation]()
        self._summation = summation(exchange, rank, self._runs)
        # A CPU is named once for each of its replicas, which does not make it several.
        self._devices = list(dict.fromkeys(devices))
        self.device_type = tf.DeviceSpec.from_string(self._devices[0]).device_type
        self._pending: list[np.ndarray] = []
        self._measures: dict[str, float] = {}

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "ApartRuntime":
        if peers is None or len(cluster.trainers()) == 1:
            return cls(choice, devices, 0, SocketAllReduce.alone(cluster.task))
        exchange = SocketAllReduce.connect(
            cluster, peers.run, peers.security, _CONNECT_TIMEOUT_S, choice.shares_memory
        )
        return cls(choice, devices, cluster.process_index, exchange)

    @property
    def evaluating_replicas(self) -> tuple[int, range]:
        if self._leader_evaluates:
            return 1, range(1)
        return self.exchange.num_workers, range(self.rank, self.rank + 1)

    @property
    def shares_state(self) -> bool:
        return self.exchange.num_workers > 1 and self._replicas_keep

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        self._program, self._train, self._test = program, train, test
        self._initial_slots = program.initial_slots(state.weights)
        self._round = Round(program, self.agreement, state)
        self._summation.round = self._round
        self._block_sums = graph_function(program, self._compiled_block_sums)
        self._resident = [_on(device, train.resident) for device in self._devices]
        self._test_resident = _on(self._devices[0], test.resident)
        self.restore(state)

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        batches = [
            self._stacked_batches(self._resident[number], element)
            for number, element in zip(self._device_numbers(), elements, strict=True)
        ]
        step, end, stops = first_step, first_step + num_steps, 0.0
        while step < end:
            agreed = self.agreement.next_agreement(step, first_step, self._memory)
            agreed = min(agreed, end)
            total = self._total(batches, step - first_step, step, agreed, stop)
            self._agree(total, agreed, agreed - step)
            stops += total[-1]
            step = agreed
        return stops > 0

    def collect(self) -> np.ndarray:
        return variables.collected(self._pending, self._program.num_sums)

    def evaluate(self, batches: Iterator[tuple]) -> np.ndarray:
        if self._leader_evaluates:
            return self._evaluated_by_leader(batches)
        blocks = [
            self.all_blocks(self._own_blocks(element)[:, np.newaxis], self._test.runs)
            for (element,) in batches
        ]
        return np.concatenate(blocks).astype(np.float64)

    def restore(self, state: State) -> None:
        shared, kept, memory = replica_state.split(
            self.agreement, state, self.local_replicas, self._initial_slots
        )
        self._replicas_keep = bool(replica_state.to_bytes(kept[0]).size)
        self._memory = memory
        with tf.device(self._devices[0]):
            self._shared = tf.nest.map_structure(tf.constant, shared)
        self._kept = []
        for number, one in zip(self._device_numbers(), kept, strict=True):
            with tf.device(self._devices[number]):
                self._kept.append(tf.nest.map_structure(tf.constant, one))

    def state(self) -> State:
        shared, kept = tf.nest.map_structure(
            lambda tensor: tensor.numpy(), (self._shared, self._kept)
        )
        if self.shares_state:
            kept = self._kept_by_all(kept)
        return replica_state.joined(self.agreement, shared, kept, self._memory)

    def exchanged(self, steps: int) -> dict[str, int]:
        del steps
        return {name: int(self._memory[name]) for name in (AGREEMENTS, UPDATE_BYTES)}

    def measures(self) -> dict[str, float]:
        totals = {name: float(value) for name, value in self.exchanged(0).items()}
        measures = self.agreement.measures(self._memory) | self._summation.measures()
        return totals | measures | self._measures

    def _own_blocks(self, element: tuple) -> np.ndarray:
        """float32 [k, num_sums]: the sums of the blocks of the test set that this worker computes."""
        return self._evaluation(self._shared, self._test_resident, element).numpy()

    def _evaluated_by_leader(self, batches: Iterator[tuple]) -> np.ndarray:
        found = np.empty((0, self._program.num_sums), np.float32)
        if self.rank == 0:
            found = np.concatenate([self._own_blocks(element) for (element,) in batches])
        number = int(self.broadcast(np.array([len(found)]))[0])
        if self.rank != 0:
            found = np.empty((number, self._program.num_sums), np.float32)
        return self.broadcast(found).astype(np.float64)

    def _total(self, batches: list, row: int, step: int, agreed: int, stop: bool) -> np.ndarray:
        """The sum of all replicas' vectors, after the round of the steps [step, agreed)."""
        rows = self._train.rows_per_step
        vectors, self._kept = self._local_rounds(
            self._shared,
            self._kept,
            batches,
            tf.constant(row * rows),
            tf.constant((agreed - step) * rows),
            tf.constant(step * rows),
            tf.constant(float(stop)),
        )
        return self._summation.total([vector.numpy() for vector in vectors])

    def _agree(self, total: np.ndarray, step: int, length: int) -> None:
        with tf.device(self._devices[0]):
            self._shared, spread = self._round.agree(self._shared, tf.constant(total))
        self._measures = {"spread": float(spread)}
        self._pending.append(self._round.sums_of(total))
        memory = self.agreement.after(self._memory, float(spread), step, length)
        num_bytes = self._summation.update_bytes or self._round.num_bytes
        self._memory = memory | {
            AGREEMENTS: memory[AGREEMENTS] + 1,
            UPDATE_BYTES: memory[UPDATE_BYTES] + num_bytes,
        }

    def _device_numbers(self) -> list[int]:
        """The number of the device of each local replica."""
        runs = LeafRuns.even(len(self.local_replicas), len(self._devices)).counts
        return [number for number, count in enumerate(runs) for _ in range(count)]

    def _kept_by_all(self, kept: Sequence[Kept]) -> list[Kept]:
        """What every logical replica keeps, in their order."""
        packed = np.stack([replica_state.to_bytes(one) for one in kept])
        everyone = self.exchange.gather(packed, self._runs.counts)
        return [replica_state.from_bytes(row, kept[0]) for part in everyone for row in part]

    # A device computes its replicas one after the other, and several devices at once.

    @tf.function(autograph=False)
    def _local_rounds(self, shared, kept, batches, row, num_rows, step, stop):
        found = []
        numbers = zip(self._device_numbers(), self.local_replicas, strict=True)
        for (number, replica), own, batch in zip(numbers, kept, batches, strict=True):
            with tf.device(self._devices[number]):
                key = Key(step, tf.constant(replica))
                rows = self._rows_of_round(batch, row)
                found.append(self._round.train(shared, own, rows, num_rows, key, stop))
        return [vector for vector, _ in found], [own for _, own in found]

    def _rows_of_round(self, batches: tuple, row) -> tuple:
        """Stacked batches that begin with those of a round, as many as the longest round has."""
        # Outside compiled code, in which their place would be a constant, compiled for each round.
        count = batches[-1].shape[0]
        longest = min(self.agreement.period * self._train.rows_per_step, count)
        rows = tf.minimum(row + tf.range(longest), count - 1)
        return tuple(tf.gather(array, rows) for array in batches)

    @tf.function(autograph=False)
    def _stacked_batches(self, resident, element):
        return self._train.stacked_batches(resident, element)

    @tf.function(autograph=False)
    def _evaluation(self, shared: Shared, resident, element):
        with tf.device(self._devices[0]):
            return self._block_sums(shared, self._test.stacked_batches(resident, element))

    def _compiled_block_sums(self, shared: Shared, stacked_batches):
        # Averages of weights, which are among an optimizer's slots, belong to replicas.
        slots = self._initial_slots
        return block_sums(
            self._program, (shared.weights, slots, shared.layer_state), stacked_batches
        )


def _on(device: str, arrays: tuple) -> tuple:
    with tf.device(device):
        return tuple(tf.constant(array) for array in arrays)
