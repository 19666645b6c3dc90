"""In which of the ways that its users know is a peer fastest?

    python -m benchmarks.ways [PEER...] [--batch=64] [--rounds=1]

A stranger who knows a faster way adds it here: a line of options, and the option in the peer's module
where it is new. The peers of `benchmarks/tables.py` are then given the fastest. Each way runs the work of
`make bench` in processes of its own, with at least 2 seconds timed after an epoch that is not. A way that
fails is shown with its reason, and one whose loss differs did other work and is marked. A way takes 10 to
40 seconds on two idle cores, and a round of all peers at most half an hour.
"""

import argparse
import dataclasses
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from benchmarks import environments, processes
from benchmarks.report import median
from benchmarks.run import run_peer
from benchmarks.tables import FEW_EXAMPLES, MAX_EPOCHS, Peer
from benchmarks.work import Work

_EPOCHS, _MIN_SECONDS, _DEADLINE_S = 4, 2.0, 180.0
_TWO, _SERVED = ("worker", "worker"), ("chief", "worker", "worker", "ps")
_PER_CALL = (1, 10, 50, 100, 500, '"epoch"')

WAYS: dict[str, tuple[Peer, tuple[tuple[str, ...], ...]]] = {
    "keras_fit": (
        Peer("keras_fit", "keras_fit"),
        (
            (),
            *(
                (f"steps_per_execution={steps}", f"jit_compile={jit}")
                for jit in ("true", "false")
                for steps in _PER_CALL
            ),
            *(
                (f"input={kind}", 'steps_per_execution="epoch"', "jit_compile=true")
                for kind in ("arrays", "dataset", "cached")
            ),
            *((f"input={kind}",) for kind in ("arrays", "dataset", "cached")),
        ),
    ),
    "keras_loop": (
        Peer("keras_loop", "keras_loop"),
        (
            (),
            ("jit_compile=false",),
            ("input=arrays",),
            ("input=dataset",),
            *(
                (f"steps_per_call={steps}", f"jit_compile={jit}")
                for jit in ("true", "false")
                for steps in (8, 58, '"epoch"')
            ),
        ),
    ),
    "torch_loop": (
        Peer("torch_loop", "torch_loop", environment="torch"),
        (
            (),
            ("adam=foreach",),
            ('adam=""',),
            ("threads=1",),
            ("compile=true",),
            ("compile=true", "mode=default"),
            ("compile=true", "mode=max-autotune"),
            ("compile=all",),
            ("compile=all", 'adam=""'),
        ),
    ),
    "torch_ddp": (
        Peer("torch_ddp", "torch_ddp", environment="torch", jobs=_TWO, pinned=True),
        (
            (),
            ("gradient_as_bucket_view=false",),
            ("static_graph=true",),
            ("bucket_cap_mb=0.1",),
            ("bucket_cap_mb=1",),
            ("compile=true",),
            ("compile=true", "static_graph=true"),
        ),
    ),
    "tf_keras_workers": (
        Peer("tf_keras_workers", "tf_keras_workers", (), "tf_keras", _TWO, pinned=True),
        (
            (),
            *((f"steps_per_execution={steps}",) for steps in (1, 10, 100, 500)),
            ("jit_compile=true",),
            ("cached=true",),
        ),
    ),
    "tf_keras_servers": (
        Peer("tf_keras_servers", "tf_keras_servers", (), "tf_keras", _SERVED),
        # Numbers that divide an epoch's steps.
        ((), ("steps_per_call=8",), ("steps_per_call=58",), ("steps_per_call=58", "cached=true")),
    ),
}
_SAME_LOSS = {"tf_keras_servers": 0.05}  # As in the table: gradients are some steps old.
_LOSS = 3e-3


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ways")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"some of {', '.join(WAYS)}")
    parser.add_argument("--batch", type=int, default=64, help="examples of a step, of each worker")
    parser.add_argument("--rounds", type=int, default=1, help="how often all ways of a peer run")
    options = parser.parse_args(argv)
    if unknown := set(options.peers) - set(WAYS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.prepare"]
        command += [folder, str(FEW_EXAMPLES), str(MAX_EPOCHS)]
        subprocess.run(command, check=True, capture_output=True)
        file = str(pathlib.Path(folder, f"work-{FEW_EXAMPLES}.npz"))
        for name in options.peers or WAYS:
            print(*lines(name, file, options.batch, options.rounds), sep="\n", flush=True)


def lines(name: str, file: str, batch: int, rounds: int) -> Iterator[str]:
    """The table of one peer, the fastest way first."""
    peer, ways = WAYS[name]
    # Where several processes train, all must take the same epochs.
    seconds = 0.0 if peer.jobs else _MIN_SECONDS
    epochs = MAX_EPOCHS if peer.jobs else _EPOCHS
    work = Work(file, batch * peer.replicas, epochs, seconds)
    found: dict[tuple[str, ...], list[dict[str, float]]] = {way: [] for way in ways}
    failures: dict[tuple[str, ...], str] = {}
    for _ in range(rounds):
        for way in ways:
            try:
                one = dataclasses.replace(peer, args=way)
                found[way].append(run_peer(one, work, _DEADLINE_S))
            except (processes.PeerFailed, environments.EnvironmentFailed) as error:
                failures[way] = str(error)
            print(f"{name}: {_shown(way)} is done", file=sys.stderr, flush=True)
    speeds = {way: median({"rounds": own}, "examples_per_s") for way, own in found.items() if own}
    first = next((own[0]["loss"] for own in found.values() if own), 0.0)
    yield f"\n{name}, batch {batch}: examples a second"
    for way in sorted(speeds, key=lambda one: -(speeds[one] or 0)):
        differs = abs(found[way][0]["loss"] - first) > _SAME_LOSS.get(name, _LOSS)
        mark = f"   OTHER WORK: its loss is {found[way][0]['loss']:.4f}, not {first:.4f}"
        yield f"{speeds[way]:>12,.0f}  {_shown(way)}{mark if differs else ''}"
    for way in (one for one in ways if one not in speeds):
        yield f"     not run  {_shown(way)}: {failures[way]}"


def _shown(way: Sequence[str]) -> str:
    return " ".join(way) or "as it is"


if __name__ == "__main__":
    main()
