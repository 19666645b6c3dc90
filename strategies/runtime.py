"""What does the trainer ask of every strategy?

`Runtime` is the interface, one file per strategy fills it in, and nothing outside this folder asks
which one it holds. A runtime is given mathematics (`Program`) and input (`ReplicaInput`) and keeps the
training state between calls; the trainer decides when to run, to look and to save.
"""

import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

NUM_SUMS = 3  # Per batch: sum of losses, sum of the metric, number of examples.


class State:
    """What training changes: weights and, for each of them, its optimizer's slots, as host arrays.

    `weights[i]` has any shape; `slots[i]` are the scalars and same-shaped arrays that its optimizer
    keeps. A strategy may cut and join them, since every optimizer offered works element by element.
    """

    def __init__(self, weights: Sequence[np.ndarray], slots: Sequence[Sequence[np.ndarray]]):
        self.weights = list(weights)
        self.slots = [list(one) for one in slots]


class Program(Protocol):
    """The mathematics of one step, as pure functions of tensors: callable on any device.

    A batch is `(features [b, ...], targets [b, ...], example_weights [b])`; sums are float32
    [NUM_SUMS] over the batch, so that replicas can add theirs.
    """

    def gradients(self, weights: list, batch: tuple) -> tuple[list, Any]:
        """Gradients of the *summed* loss, shaped like `weights`, and the batch's sums."""

    def mean(self, gradients: list, count: Any) -> list:
        """Gradients of the mean loss over `count` examples, clipped where the config says so."""

    def update(self, weights: list, slots: list, gradients: list) -> tuple[list, list]:
        """Weights and slots after the optimizer took these mean gradients."""

    def sums(self, weights: list, batch: tuple) -> Any:
        """The batch's sums, without gradients."""

    def initial_slots(self, weights: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """The optimizer's slots for weights of these shapes, before the first step."""


class ReplicaInput(Protocol):
    """One replica's share of the input, loop by loop."""

    resident: tuple[np.ndarray, ...]
    """Arrays to keep on every device for the whole run; empty where batches are streamed."""

    def stacked_batches(self, resident: tuple, element: tuple) -> tuple:
        """`(features [k, b, ...], targets [k, b, ...], example_weights [k, b])` of one element."""


class Runtime(abc.ABC):
    """How this process trains: on which devices, and what it exchanges with whom."""

    name: str
    reason: str
    num_replicas: int
    local_replicas: range
    serves_only = False  # True: this task only waits for another to send it work.
    sync_mode: str
    device_type = "CPU"
    adds_in_order = True  # Replicas' gradients are added pairwise, in the order of the replicas.

    def broadcast(self, values: Any) -> Any:
        """The leader's values on every task: a nest of arrays, of equal shapes everywhere."""
        return values

    def steps_per_loop(self, report_every: int) -> int | None:
        """Steps of a loop where the config leaves it open; None: as many as its data allows.

        `report_every`: how many steps there are at most between two calls of `collect`.
        """
        return None

    def waiting_for(self) -> str:
        """The peers for which what is under way waits now, as in "worker 1"; "" where it cannot tell."""
        return ""

    def set_peer_timeout(self, seconds: float) -> None:  # noqa: B027, most have nothing to bound.
        """Bounds its own waits for peers that live and do not come on, where it has such waits."""

    @abc.abstractmethod
    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        """Places state and resident data. `num_steps`: steps of the whole run, done ones included."""

    @abc.abstractmethod
    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        """Takes steps [first_step, first_step + num_steps); `elements` has one per local replica.

        May return before they are done. True where any task was asked to `stop`: all agree.
        """

    @abc.abstractmethod
    def collect(self) -> np.ndarray:
        """Waits for the steps under way: float64 [NUM_SUMS] over all since the last call."""

    @abc.abstractmethod
    def evaluate(self, batches: Iterator[tuple]) -> np.ndarray:
        """Float64 [blocks, NUM_SUMS]: the sums of each block of the test set, in its order."""

    @abc.abstractmethod
    def restore(self, state: State) -> None:
        """Replaces the state by one of the same shapes."""

    @abc.abstractmethod
    def state(self) -> State:
        """The state after the last collected step."""

    def serve(self, wait: Callable[[], int]) -> int:
        """Serves until `wait` returns; its value is the exit code. Only where `serves_only`."""
        raise AssertionError(f"{self.name} has no task that only serves")
