"""How does a process train as a single task where its environment describes a cluster? With TF_CONFIG={}.

The environment's own variables (Slurm's, SageMaker's) are not a person's to change, so every error about
them offers this.
"""

import contextlib
from collections.abc import Iterator, Mapping

from strategies.cluster.spec import TF_CONFIG
from strategies.errors import ClusterError

FLAG = "--cluster"
HOW = f"set {TF_CONFIG}={{}} to train as a single task"


def is_asked_for(environ: Mapping[str, str]) -> bool:
    """Whether TF_CONFIG is set. Where it lists no tasks, the process trains alone."""
    return bool(environ.get(TF_CONFIG, "").strip())


def is_written(source: str) -> bool:
    """Whether a person wrote the cluster of this source down, and can correct it."""
    return source in (TF_CONFIG, FLAG)


def without(source: str) -> str:
    """How to start without the cluster of this source."""
    if is_written(source):
        return {TF_CONFIG: f"unset {TF_CONFIG}", FLAG: f"leave {FLAG} out"}[source]
    return f"set {TF_CONFIG}={{}}"


def error(source: str, problem: str, received: object, fix: str) -> ClusterError:
    """The error for variables of an environment that describe no cluster that can run."""
    shown = repr(received)
    shown = shown if len(shown) <= 200 else shown[:197] + "..."
    return ClusterError(f"{source}: {problem}. Received: {shown}; {fix}, or {HOW}.")


@contextlib.contextmanager
def offered() -> Iterator[None]:
    """Adds how to do without an environment's cluster to the ClusterErrors of its body."""
    try:
        yield
    except ClusterError as error:
        reason = str(error).rstrip(".")
        raise ClusterError(f"{reason}, or use {FLAG}, or {HOW}.") from None
