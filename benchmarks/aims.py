"""How fast is this trainer to be, beside which peers?

`AIMS` has the bounds; `tables.py` has what is measured.
"""

import dataclasses

from benchmarks.tables import NETS


@dataclasses.dataclass(frozen=True)
class Aim:
    """A bound on one peer's median over another's in the same column, times `factor`."""

    what: str
    table: str
    over: tuple[str, str]  # The column and the peer above the line,
    under: tuple[str, str]  # and those below it.
    at_least: float | None = None
    at_most: float | None = None
    factor: float = 1.0


def _faster(than: str, at_least: float, table: str, column: str) -> Aim:
    what = f"Muster over {than}, {table}, {column}"
    return Aim(what, table, (column, "Muster"), (column, than), at_least=at_least)


_BATCHES = ("batch 32", "batch 64", "batch 256", "batch 1,024")
_KERAS = ("Keras fit, defaults", "Keras fit, an epoch a call", "Keras fit, an epoch a call, jit")
_BIG, _TRIALS = "1,024 a worker", "8 epochs of 14,848"
AIMS = (
    *(_faster("floor", 0.92, "one_process", batch) for batch in _BATCHES),
    *(_faster("JAX scan", 1.0, "one_process", batch) for batch in _BATCHES),
    _faster("Keras fit, tuned", 2.9, "one_process", "batch 64"),
    _faster("Keras fit, defaults", 7, "one_process", "batch 64"),
    # The best way of each is the one that all others are slower than.
    *(_faster(way, 1.2, net, "batch 64") for net in NETS for way in _KERAS),
    *(_faster(f"PyTorch, {way}", 1.0, net, "batch 64") for net in NETS for way in ("eager", "compiled")),
    _faster("PyTorch DDP, gloo", 3.5, "two_workers", "64 a worker"),
    _faster("PyTorch DDP, gloo", 1.7, "two_workers", _BIG),
    Aim("weak scaling, 1,024 a worker", "two_workers", (_BIG, "Muster"),
        (_BIG, "Muster, one worker"), at_least=0.93, factor=0.5),
    _faster("ClusterCoordinator loop, 58 steps a closure", 6, "parameter_server", "batch 64"),
    Aim("16 trials, keras-tuner over Muster, both 1 at a time", "sweep",
        (_TRIALS, "keras-tuner over fit, tuned"), (_TRIALS, "Muster tune, 1 at a time"), at_least=1.0),
    Aim("16 trials, keras-tuner over Muster, 2 at a time", "sweep",
        (_TRIALS, "keras-tuner over fit, tuned"), (_TRIALS, "Muster tune, 2 at a time"), at_least=1.5),
    Aim("time to the first step over import tensorflow", "first_step", ("digits", "Muster"),
        ("digits", "import tensorflow, alone"), at_most=1.25),
)  # fmt: skip
