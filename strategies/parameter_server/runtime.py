"""How do workers train through parameter servers that hold the weights?

The chief coordinates: it schedules units of work, a window of steps each, on whichever worker is free. A
worker pulls the state, takes all steps of its window alone, and pushes the result: the
delta-pushing of Downpour SGD (Dean et al., "Large Scale Distributed Deep Networks", 2012), with the
optimizer's steps taken on the worker. Windows overlap, so a worker may start from weights that are some
windows old: that is the asynchrony, which `sync/asynchronous.py` bounds. All weights are one vector, cut
into one shard for each parameter server; a shard's weights and slots, and its part of the layer state,
are sent as one vector.

`division.py` says how a state is divided, `shards.py` what a server holds and how a push changes it. Of a
table, such as that of an embedding, only the rows that a window uses are sent (`tables.py`).
"""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.compiled_loop import block_sums, fused_steps, graph_function
from strategies.parameter_server.division import Division
from strategies.parameter_server.lost_servers import lost_servers
from strategies.parameter_server.shards import Shard
from strategies.parameter_server.windows import Windows
from strategies.parameter_server.worker_recovery import (
    await_created,
    create_on_every_worker,
    recover_workers_independently,
)
from strategies.rendezvous.membership import Membership
from strategies.runtime import Key, Program, ReplicaInput, Runtime
from strategies.state import State
from strategies.sync.asynchronous import Asynchronous

# Kept until the process exits: when a coordinator is freed, TensorFlow disconnects from every server,
# which takes long and logs errors where a server has exited already.
_KEPT: list["ParameterServerRuntime"] = []


class ParameterServerRuntime(Runtime):
    """Asynchronous data parallelism. The chief's drives the steps; those of all other tasks serve."""

    name = "parameter_server"
    num_replicas = 1  # Per step: one worker takes it.
    local_replicas = range(1)
    adds_within_step = True  # A worker has the whole batch.

    def __init__(self, choice: Choice, cluster: ClusterSpec, peers: Membership):
        self.reason = choice.reason
        assert isinstance(choice.agreement, Asynchronous)
        self.sync_mode = choice.agreement.mode
        self._windows = Windows(choice.agreement, len(cluster.jobs["worker"]))
        self.serves_only = cluster.task.type in ("worker", "ps")
        self._cluster = cluster
        if not self.serves_only:
            resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec(cluster.as_dict()),
                task_type=cluster.task.type,
                task_id=cluster.task.index,
                rpc_layer="grpc",
            )
            strategy = tf.distribute.ParameterServerStrategy(resolver)
            self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
            recover_workers_independently(self._coordinator, peers)
            _KEPT.append(self)

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "ParameterServerRuntime":
        del devices  # TensorFlow's server uses every device.
        assert peers is not None  # It is a strategy of several tasks.
        return cls(choice, cluster, peers)

    def serve(self, wait: Callable[[], int]) -> int:
        # Kept in a variable: the server lives as long as the object.
        server = tf.distribute.Server(
            tf.train.ClusterSpec(self._cluster.as_dict()),
            job_name=self._cluster.task.type,
            task_index=self._cluster.task.index,
            protocol="grpc",
        )
        exit_code = wait()
        del server
        return exit_code

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        self._program = program
        self._train, self._test = train, test
        self._division = Division(state, program.tables, len(self._cluster.jobs["ps"]))
        self._shards = [
            Shard(
                *part,
                num_steps=num_steps,
                max_unfinished=self._windows.max_overlap,
                num_sums=program.num_sums,
                device=f"/job:ps/replica:0/task:{index}/device:CPU:0",
                name=f"shard_{index}",
                has_moments=any(np.ndim(slot) for own in state.slots for slot in own),
                # With one server a unit is merged whole or not at all.
                keeps_start=self._windows.max_overlap == 1 and self._division.servers > 1,
            )
            for index, part in enumerate(self._division.parts(state))
        ]
        self._division.layouts = [shard.layout for shard in self._shards]
        self._compiled_window = graph_function(program, self._window)
        self._compiled_sums = graph_function(program, self._block_sums)
        self._scheduled = self._bytes_of_rows = 0
        self._is_warm = False
        self._collected = np.zeros(program.num_sums)
        self._resident = self._on_every_worker(train.resident)
        self._test_resident = tuple(tf.constant(array) for array in test.resident)

    def steps_per_loop(self, report_every: int) -> int:
        return self._windows.steps_per_loop(report_every)

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        (element,) = elements
        if not self._is_warm:
            self._warm_up(first_step, element)
        for start, steps, rows in self._windows.cut(num_steps, element):
            self._schedule(first_step + start, steps, rows)
        self._scheduled += num_steps
        return stop

    def measures(self) -> dict[str, float]:
        """The staleness of the pushes of the first shard since the last call."""
        with lost_servers():
            mean, largest = self._shards[0].staleness()
        return {"staleness": mean, "max_staleness": largest, "window_steps": self._windows.steps}

    def exchanged(self, steps: int) -> dict[str, int]:
        pushes = self._windows.number_in(steps)
        num_bytes = pushes * sum(shard.push_bytes for shard in self._shards)
        num_bytes += round(self._bytes_of_rows / max(self._scheduled, 1) * steps)
        workers = len(self._cluster.jobs["worker"])
        return {"agreements": pushes, "update_bytes": num_bytes // workers}

    def collect(self) -> np.ndarray:
        with lost_servers():
            self._coordinator.join()
            applied = [int(shard.applied_steps.numpy()) for shard in self._shards]
            total = self._shards[0].sums.numpy()
            busy_s = float(self._shards[0].busy_s.numpy())
            rows = sum(shard.pushed_rows.numpy() for shard in self._shards)
        if applied != [self._scheduled] * len(applied):
            raise AssertionError(f"{self._scheduled} steps were scheduled, {applied} were applied")
        self._windows.all_finished(self._scheduled, busy_s)
        self._bytes_of_rows = int(np.dot(rows, self._division.tables.row_bytes))
        sums = total - self._collected
        self._collected = total
        return sums

    def evaluate(self, batches: Iterator[tuple]) -> np.ndarray:
        state = tf.nest.map_structure(tf.constant, self.state().parts)
        rows = [
            self._evaluation(state, self._test_resident, elements[0]).numpy()
            for elements in batches
        ]
        return np.concatenate(rows).astype(np.float64)

    def restore(self, state: State) -> None:
        with lost_servers():
            for shard, part in zip(self._shards, self._division.parts(state), strict=True):
                shard.assign(*part)
        self._scheduled = self._bytes_of_rows = 0
        self._collected = np.zeros(self._program.num_sums)

    def state(self) -> State:
        with lost_servers():
            return self._division.state(self._shards)

    def _on_every_worker(self, arrays: tuple):
        """An iterator per worker that returns the whole arrays each time, without copying them."""

        def dataset():
            options = tf.data.Options()
            options.autotune.enabled = False
            return tf.data.Dataset.from_tensors(arrays or (0,)).repeat().with_options(options)

        return iter(self._coordinator.create_per_worker_dataset(dataset))

    def _schedule(self, first_step: int, num_steps: int, element: tuple) -> None:
        with lost_servers():
            self._windows.await_place()
        steps = tf.constant([first_step, num_steps])
        args = (self._resident, steps, element)
        self._windows.started(self._coordinator.schedule(self._unit, args=args))

    def _warm_up(self, first_step: int, element: tuple) -> None:
        """Compiles on every worker before any takes a step, and on a recovered one before it takes more.

        A worker's first unit takes seconds, in which another worker takes a thousand steps. The first,
        largest steps of training would then be added to weights that are far ahead of them.
        """
        unit = (self._resident, tf.constant([first_step, 0]), self._windows.rows(element, 0))
        self._compiled = create_on_every_worker(self._coordinator, self._unit, unit)
        with lost_servers():
            await_created(self._compiled)
        self._is_warm = True

    @tf.function(autograph=False)
    def _unit(self, resident, steps, element):
        """A window of steps, on one worker. `steps`: int32 [2], the first step and their number."""
        stacked_batches = self._train.stacked_batches(next(resident), element)
        divided = self._division.tables
        rows = divided.used(stacked_batches, steps[1])
        pulled = [shard.pull(steps, own) for shard, own in zip(self._shards, rows, strict=True)]
        values = [one.values for one in pulled]
        with tf.control_dependencies(values):
            began = tf.timestamp()
        tables = divided.whole(rows, [one.tables for one in pulled])
        pushed, moved, tables = self._compiled_window(
            values, pulled[0].counts, tables, stacked_batches, steps
        )
        with tf.control_dependencies(pushed):
            seconds = tf.timestamp() - began
        ended = zip(self._shards, pulled, pushed, divided.taken(rows, tables), strict=True)
        return [
            shard.push(steps, before, after, moved, seconds, own)
            for shard, before, after, own in ended
        ]

    def _window(self, values, counts, tables, stacked_batches, steps):
        """The steps of a unit, from these values.

        Returns for each shard the vector to push, by how much its counts have changed, and the tables.
        """
        state = self._division.unpacked(values, counts, tables)
        first = Key(steps[0], 0)
        state, sums = fused_steps(self._program, state, stacked_batches, steps[1], first)
        pushed, after, tables = self._division.packed(state, sums)
        return pushed, after - counts, tables

    @tf.function(autograph=False)
    def _evaluation(self, state, resident, element):
        return self._compiled_sums(state, self._test.stacked_batches(resident, element))

    def _block_sums(self, state, stacked_batches):
        return block_sums(self._program, state, stacked_batches)
