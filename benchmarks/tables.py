"""What is measured, and with which peers?

All of it is data: a table has a column for each work and a row for each peer. Its first peer is this
trainer, with which the others are compared.
"""

import dataclasses

from benchmarks.environments import MUSTER

ALL_EXAMPLES = 59_392  # Of MNIST's 60,000: every batch below divides this number.
FEW_EXAMPLES = ALL_EXAMPLES // 4  # Where a step is slow, or the warm-up would take the most time.
MAX_EPOCHS = 8


@dataclasses.dataclass(frozen=True)
class Peer:
    """A row: the module that does the work, its arguments, its Python and its cluster."""

    name: str
    module: str
    args: tuple[str, ...] = ()
    environment: str = MUSTER
    jobs: tuple[str, ...] = ()
    pinned: bool = False  # Each task on a core of its own.

    @property
    def replicas(self) -> int:
        """Replicas that share one global batch. With parameter servers a step is one worker's."""
        return 1 if "ps" in self.jobs else max(1, len(self.jobs))


@dataclasses.dataclass(frozen=True)
class Column:
    """A work without its file: whole epochs, of which the first is not timed."""

    name: str
    batch_per_worker: int
    epochs: int
    num_examples: int = ALL_EXAMPLES
    max_rounds: int = 100  # Columns without an aim are measured less often.
    # The machine may be slower for seconds at a time, so a peer of one process is timed for longer, in
    # slices of an epoch, over several rounds. 0 for clusters, whose tasks must take the same epochs.
    min_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Table:
    """`value` is what peers report, and `higher` whether more of it is better."""

    name: str
    title: str
    peers: tuple[Peer, ...]
    columns: tuple[Column, ...]
    value: str = "examples_per_s"
    higher: bool = True
    loss_tolerance: float = 3e-3  # Means of float32 losses after many chaotic updates.
    # PyTorch's Adam adds epsilon to a root that is already corrected, which shows in the first steps:
    # most where there are few in an epoch.
    first_loss_tolerance: float = 0.02
    shows_memory: bool = False
    deadline_s: float = 120.0


_KERAS = (
    Peer("Keras fit, defaults", "keras_fit"),
    Peer("Keras fit, tuned", "keras_fit", ('steps_per_execution="epoch"', "jit_compile=true")),
    Peer("plain Keras loop", "keras_loop"),
    Peer("plain Keras loop, an epoch a call", "keras_loop", ('steps_per_call="epoch"',)),
)
_TWO = ("worker", "worker")
SOME_EXAMPLES = ALL_EXAMPLES // 16  # 58 steps of 64: an epoch of these nets takes about a second.
NETS = {
    "cnn": "Two convolutions and two dense layers",
    "cnn_norm": "Two convolutions with batch normalization and dropout",
    "transformer": "A transformer over 16 patches, two layers, 64 wide",
    "gru": "A GRU of 64 units over 28 rows",
}
_SERVED = ("chief", "worker", "worker", "ps")


def _launched(what: str, workers: int, *flags: str) -> Peer:
    name = f"Muster launch, {workers} workers" if workers > 1 else "Muster launch, 1 worker"
    name = " ".join([f"{name},", *flags]) if flags else name
    return Peer(name, "launched", (what, str(workers), *flags))


def _net(name: str, title: str) -> Table:
    """A table of one of the nets in `benchmarks/recipes`."""
    return Table(
        name,
        f"{title}, one process: examples a second, and peak memory",
        (
            Peer("Muster", "muster", (f"--net={name}",)),
            Peer("Keras fit, defaults", "keras_nets", (name, "default")),
            Peer("Keras fit, an epoch a call", "keras_nets", (name, "graph")),
            Peer("Keras fit, an epoch a call, jit", "keras_nets", (name, "jit")),
            Peer("Keras fit on JAX", "keras_nets", (name, "jit", "jax"), "jax"),
            Peer("PyTorch, eager", "torch_nets", (name, "eager"), "torch"),
            Peer("PyTorch, compiled", "torch_nets", (name, "compile"), "torch"),
        ),
        (Column("batch 64", 64, 4, SOME_EXAMPLES, max_rounds=3, min_seconds=4),),
        # Dropout draws other masks, PyTorch's first weights differ, and blocks have their own
        # statistics. One wrong label in ten keeps the loss of all above 0.3 for some epochs.
        loss_tolerance=0.5,
        first_loss_tolerance=1.5,
        shows_memory=True,
        deadline_s=300.0,
    )


def _net_of_two(name: str, title: str) -> Table:
    """As `_net`, on two workers with a core each, beside one of them and one process on all cores."""
    own, net = (f"--net={name}",), (f"net={name}",)
    return dataclasses.replace(
        _net(name, title),
        name=f"{name}_two_workers",
        title=f"{title}, two workers, a core each, gradients every step: examples a second of both",
        peers=(
            Peer("Muster", "muster", own, jobs=_TWO, pinned=True),
            Peer("Muster, one worker", "muster", own, jobs=("worker",), pinned=True),
            Peer("Muster, one process", "muster", own),
            Peer("PyTorch DDP, gloo", "torch_ddp", net, "torch", _TWO, pinned=True),
            Peer(
                "tf_keras fit, MultiWorkerMirrored", "tf_keras_workers", net, "tf_keras", _TWO, True
            ),
        ),
        columns=(Column("64 a worker", 64, 4, SOME_EXAMPLES, max_rounds=3),),
        shows_memory=False,
    )


def _net_served(name: str, title: str) -> Table:
    """As `_net`, with two workers and a parameter server, beside one process."""
    own, net = (f"--net={name}",), (f"net={name}",)
    return dataclasses.replace(
        _net(name, title),
        name=f"{name}_servers",
        title=f"{title}, two workers and a parameter server, asynchronous: examples a second",
        peers=(
            Peer("Muster", "muster", own, jobs=_SERVED),
            Peer("Muster, one process", "muster", own),
            Peer("ClusterCoordinator loop", "tf_keras_servers", net, "tf_keras", _SERVED),
        ),
        columns=(Column("batch 64", 64, 4, SOME_EXAMPLES, max_rounds=3),),
        shows_memory=False,
    )


TABLES = (
    Table(
        "one_process",
        "One process: examples a second, and peak memory",
        (
            Peer("Muster", "muster"),
            *_KERAS,
            Peer("Orbit", "orbit_loop", environment="orbit"),
            Peer("Keras fit on JAX", "keras_on_jax", environment="jax"),
            Peer("PyTorch, eager", "torch_loop", (), "torch"),
            Peer("PyTorch, compiled", "torch_loop", ("compile=true",), "torch"),
            Peer("JAX scan", "jax_scan", environment="jax"),
            Peer("floor", "floor", environment="floor"),
        ),
        (
            Column("batch 32", 32, 5, FEW_EXAMPLES, max_rounds=3, min_seconds=2),
            Column("batch 64", 64, epochs=3, min_seconds=2),
            Column("batch 256", 256, epochs=4, max_rounds=3, min_seconds=2),
            Column("batch 1,024", 1024, epochs=5, max_rounds=3, min_seconds=2),
        ),
        shows_memory=True,
    ),
    Table(
        "two_workers",
        "Two workers, a core each, gradients every step: examples a second of both",
        (
            Peer("Muster", "muster", jobs=_TWO, pinned=True),
            Peer("PyTorch DDP, gloo", "torch_ddp", (), "torch", _TWO, pinned=True),
            Peer(
                "tf_keras fit, MultiWorkerMirrored", "tf_keras_workers", (), "tf_keras", _TWO, True
            ),
            Peer(
                "PyTorch DDP, gloo, static graph",
                "torch_ddp",
                ("static_graph=true",),
                "torch",
                _TWO,
                pinned=True,
            ),
            Peer("Muster, one worker", "muster", jobs=("worker",), pinned=True),
        ),
        (
            Column("64 a worker", 64, 8, FEW_EXAMPLES),
            Column("512 a worker", 512, epochs=4, max_rounds=3),
            Column("1,024 a worker", 1024, epochs=5),
        ),
    ),
    Table(
        "parameter_server",
        "Two workers and a parameter server, asynchronous: examples a second",
        (
            Peer("Muster", "muster", jobs=_SERVED),
            Peer("ClusterCoordinator loop", "tf_keras_servers", (), "tf_keras", _SERVED),
            Peer(
                "ClusterCoordinator loop, 58 steps a closure",
                "tf_keras_servers",
                ("steps_per_call=58",),
                "tf_keras",
                _SERVED,
            ),
        ),
        (Column("batch 64", 64, 4, FEW_EXAMPLES, max_rounds=3),),
        loss_tolerance=0.05,  # Each step's gradient is some steps old, how many differs every run.
        first_loss_tolerance=0.5,
    ),
    Table(
        "first_step",
        "Time to the first step, from the command: seconds",
        (
            Peer("Muster", "first_step", ("muster",)),
            Peer("import tensorflow, alone", "first_step", ("import",)),
            Peer("Keras fit", "first_step", ("keras",)),
        ),
        (Column("digits", 64, epochs=1),),
        value="seconds",
        higher=False,
    ),
    Table(
        "launch",
        "Workers of one machine to their first step, from the command: seconds, and memory of all",
        tuple(_launched("start", workers) for workers in (2, 1, 4, 8))
        + tuple(_launched("start", workers, "--warm=false") for workers in (2, 1, 4, 8))
        + (Peer("torchrun, 2 workers", "torch_elastic", ("start", "2"), "torch"),),
        (Column("64 digits a step", 64, epochs=1),),
        value="seconds",
        higher=False,
        shows_memory=True,
    ),
    Table(
        "restart",
        "From the SIGKILL of one of two workers to the next step: seconds",
        (
            _launched("restart", 2),
            _launched("restart", 2, "--warm=false"),
            Peer("torchrun, 2 workers", "torch_elastic", ("restart", "2"), "torch"),
        ),
        (Column("64 digits a step", 64, epochs=1),),
        value="seconds",
        higher=False,
        shows_memory=True,
    ),
    Table(
        "sweep",
        "Sixteen trials, from the command: seconds",
        (
            Peer("Muster tune, 2 at a time", "sweep", ("tune", "--parallel_trials=2")),
            Peer("Muster tune, 1 at a time", "sweep", ("tune",)),
            Peer("Muster, 16 runs", "sweep", ("runs",)),
            Peer("keras-tuner over fit, defaults", "sweep", ("keras_tuner", "default")),
            Peer("keras-tuner over fit, tuned", "sweep", ("keras_tuner", "tuned")),
        ),
        (
            Column("1 epoch of 14,848", 64, 1, FEW_EXAMPLES, max_rounds=3),
            Column("8 epochs of 14,848", 64, 8, FEW_EXAMPLES, max_rounds=3),
        ),
        value="seconds",
        higher=False,
        loss_tolerance=0.03,  # keras-tuner's later epochs repeat the order of the first.
        deadline_s=600.0,
    ),
    Table(
        "streaming",
        "Data that does not stay on the device: examples a second",
        (
            Peer("Muster, streaming", "muster", ("--config.data.placement=stream",)),
            Peer("tuned tf.data", "keras_stream"),
        ),
        (
            Column("batch 64", 64, epochs=3, max_rounds=3),
            Column("batch 256", 256, epochs=4, max_rounds=3),
        ),
    ),
    Table(
        "local_devices",
        "Logical devices of one CPU: examples a second",
        (
            Peer("Muster, 2 devices", "muster", ("--devices=2",)),
            Peer("Muster, 1 device", "muster", ("--devices=1",)),
            Peer("Muster, 4 devices", "muster", ("--devices=4",)),
            Peer("Keras fit, MirroredStrategy, 2", "keras_fit", ("devices=2",)),
        ),
        (
            Column("batch 64", 64, 6, FEW_EXAMPLES, max_rounds=3),
            Column("batch 256", 256, 8, FEW_EXAMPLES, max_rounds=3),
        ),
    ),
    *(_net(name, title) for name, title in NETS.items()),
    *(_net_of_two(name, title) for name, title in NETS.items()),
    *(_net_served(name, title) for name, title in NETS.items()),
)
