"""Did a launcher start this process as one of several, without the addresses of the others?

MPI's launchers and those like torchrun give each process a rank and the number of all. That many separate
trainings, with one workdir, are never meant. So `check` refuses them, unless `--cluster` lists the tasks:
then the rank says which task this is.
"""

import dataclasses
import re
from collections.abc import Mapping

from strategies.cluster import alone
from strategies.cluster.spec import ClusterSpec
from strategies.errors import ClusterError


@dataclasses.dataclass(frozen=True)
class _Names:
    """The variables of one kind of launcher. `is_common`: other programs use these names too."""

    size: str
    rank: str
    local_size: str
    is_common: bool = False


_LAUNCHERS = (
    _Names("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    _Names("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"),
    _Names("PMI_SIZE", "PMI_RANK", "MPI_LOCALNRANKS"),  # MPICH's Hydra, and Intel's.
    _Names("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", is_common=True),
)


@dataclasses.dataclass(frozen=True)
class Launched:
    """One of `size` processes. `rank` is None where its variable has no rank of them."""

    names: _Names
    size: int
    rank: int | None
    is_local: bool


def find(environ: Mapping[str, str]) -> Launched | None:
    """What the first launcher says that started several processes; None where there is none."""
    for names in _LAUNCHERS:
        size, rank = _number(environ, names.size), _number(environ, names.rank)
        if size is None or size < 2 or (names.is_common and rank is None):
            continue
        known = rank if rank is not None and rank < size else None
        return Launched(names, size, known, _number(environ, names.local_size) == size)
    return None


def check(environ: Mapping[str, str]) -> None:
    """Raises ClusterError where a launcher started several processes."""
    found = find(environ)
    if not found:
        return
    listed = ",".join(f"host{index}:2222" for index in range(min(found.size, 3)))
    listed += ",..." if found.size > 3 else ""
    fix = f"list them in the order of their ranks, as in --cluster={listed}"
    if found.is_local:
        fix = f"run `python -m trainer launch --workers={found.size}` once instead"
    raise ClusterError(
        f"`{found.names.size}` must come with a cluster: several processes that train alone would write "
        f"to one workdir. Received: {_shown(found)}; {fix}, or {alone.HOW}."
    )


def check_agrees(environ: Mapping[str, str], cluster: ClusterSpec) -> None:
    """Raises ClusterError where a launcher started more or fewer processes than the cluster has tasks."""
    found = find(environ)
    if found and found.size != len(cluster.tasks()):
        raise ClusterError(
            f"`{found.names.size}` must be the number of tasks that {cluster.source} describes. "
            f"Received: {found.size}, and {cluster}; list every process in {alone.FLAG}, or unset "
            f"{found.names.size}, or {alone.HOW}."
        )


def task_number(environ: Mapping[str, str], count: int) -> tuple[int, str] | None:
    """This process's number among `count` listed tasks, and the variable that says so.

    Raises ClusterError where the launcher started another number of processes.
    """
    found = find(environ)
    if not found:
        return None
    if found.size != count or found.rank is None:
        raise ClusterError(
            f"`--cluster` must list one task for each process that `{found.names.size}` counts. "
            f"Received: {count} tasks, and {_shown(found)}; list them in the order of their ranks, or "
            "add --task."
        )
    return found.rank, found.names.rank


def _shown(found: Launched) -> str:
    rank = "no rank" if found.rank is None else f"rank {found.rank}"
    return f"{rank} of {found.size} processes"


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
