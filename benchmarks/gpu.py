"""What does this trainer do on a GPU? A script of at most 8 minutes, for a machine that has one.

    python -m benchmarks.gpu [--steps=build,parity,table,devices] [--minutes=8]
    python -m benchmarks.gpu --rehearse

- `build`: which GPUs TensorFlow sees, and with what it was built.
- `parity`: the same weights from one GPU, from a run that is resumed, and from all GPUs; how far the
  CPU's loss is from theirs. After a difference in bits the exit code is 1.
- `table`: examples a second and peak GPU memory of Muster and Keras `fit`, one process, several nets.
- `devices`: Muster with `--devices` from one to all GPUs.

Where there is no GPU it says so in one line, measures nothing, and ends with exit code 2. `--rehearse`
takes the same steps on the CPU, so that the script can be tried before a GPU is at hand; its figures are
not those of a GPU, and every table says so. What no time is left for is listed as not run. Keras takes
nearly all memory of a GPU at its start, which is then its peak.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks import environments, prepare, processes
from benchmarks.report import median
from benchmarks.run import run_peer
from benchmarks.tables import FEW_EXAMPLES, MAX_EPOCHS, SOME_EXAMPLES, Peer
from benchmarks.work import Work

_STEPS, _HALF = 40, 20  # Of a run for parity.
_RUN_S, _PEER_S = 90.0, 90.0
_SAMPLE_EVERY_S = 0.2
_SEES = """
import json, tensorflow as tf
gpus = tf.config.list_physical_devices("GPU")
names = [tf.config.experimental.get_device_details(gpu).get("device_name", "") for gpu in gpus]
print(json.dumps({"gpus": names, "version": tf.__version__, "built": dict(tf.sysconfig.get_build_info())},
                 default=str))
"""


class Failed(Exception):
    """A step could not be taken; the message is one line."""


@dataclasses.dataclass
class Session:
    """What the steps share. `gpus`: how many there are; in a rehearsal, replicas of the CPU."""

    folder: pathlib.Path
    gpus: int
    rehearses: bool
    deadline: float

    def seconds(self, most: float) -> float:
        """For something that takes at most so long. Raises Failed where no time is left for it."""
        left = self.deadline - time.monotonic()
        if left < most / 3:
            raise Failed("not run: no time is left")
        return min(most, left)

    @property
    def device(self) -> str:
        return "replica of the CPU, NOT A GPU" if self.rehearses else "GPU"


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    seen = _seen()
    print(f"TensorFlow {seen['version']}, built with {seen['built']}", flush=True)
    if not seen["gpus"] and not options.rehearse:
        print(
            f"no GPU: {_why_none()}. Nothing was measured; --rehearse takes the steps on the CPU."
        )
        return 2
    if options.rehearse:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        print("REHEARSAL on the CPU: no figure below is of a GPU", flush=True)
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        gpus = 2 if options.rehearse else len(seen["gpus"])
        deadline = time.monotonic() + 60 * options.minutes
        session = Session(pathlib.Path(folder), gpus, options.rehearse, deadline)
        for name in options.steps:
            try:
                for line in STEPS[name](session):
                    print(line, flush=True)
            except (Failed, processes.PeerFailed, environments.EnvironmentFailed) as error:
                print(f"{name}: {error}", flush=True)
                code = 1
    return code


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    def several(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(STEPS):
            raise argparse.ArgumentTypeError(f"no such step: {', '.join(sorted(unknown))}")
        return text.split(",")

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument(
        "--steps", type=several, default=[*STEPS], help=f"some of {','.join(STEPS)}"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="for all steps together")
    parser.add_argument("--rehearse", action="store_true", help="take the steps on the CPU")
    return parser.parse_args(argv)


def _seen() -> dict:
    """In a process of its own: one that has initialized a GPU would keep its memory."""
    done = subprocess.run(
        [sys.executable, "-c", _SEES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"TensorFlow cannot be imported: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _why_none() -> str:
    from strategies.devices import gpus

    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides them all"
    return gpus.why_none(["CPU:0"]) or "this machine has none, or no driver for it"


def _build(session: Session) -> Iterator[str]:
    """What the driver says of each GPU."""
    if session.rehearses:
        yield "build: the driver is not asked in a rehearsal"
        return
    for line in _nvidia_smi("name,driver_version,memory.total"):
        yield f"GPU: {line}"


def _nvidia_smi(fields: str) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"nvidia-smi does not answer: {error}") from None
    return done.stdout.splitlines()


def _parity(session: Session) -> Iterator[str]:
    """The weights of one device are those of a resumed run and of all devices."""
    one = _trained(session, "one", "--devices=1")
    _trained(session, "resumed", "--devices=1", steps=_HALF)
    others = {"a run that was resumed": _trained(session, "resumed", "--devices=1")}
    if session.gpus > 1:
        others[f"{session.gpus} devices"] = _trained(session, "all", f"--devices={session.gpus}")
    for name, found in others.items():
        if found["weights_sha256"] != one["weights_sha256"]:
            raise Failed(f"{name} has OTHER WEIGHTS than one {session.device} after {_STEPS} steps")
        yield f"parity: {name} has the same bits as one {session.device} after {_STEPS} steps"
    cpu = _trained(session, "cpu", "--devices=1", on_cpu=True)
    away = abs(cpu["final_loss"] - one["final_loss"])
    yield f"parity: the loss of the CPU is {away:.2g} from that of one {session.device}"


def _trained(
    session: Session, name: str, *flags: str, steps: int = _STEPS, on_cpu: bool = False
) -> dict:
    """The summary of a run of the default recipe. Raises Failed."""
    workdir = session.folder / name
    fields = {
        "train.steps": steps, "train.reduction_blocks": 4, "train.exact_products": "true",
        "train.eval_every_epochs": 0,
    }  # fmt: skip
    overrides = [f"--config.{field}={value}" for field, value in fields.items()]
    command = [sys.executable, "-m", "trainer", f"--workdir={workdir}", "--report=false"]
    environ = {**os.environ, **({"CUDA_VISIBLE_DEVICES": "-1"} if on_cpu else {})}
    try:
        done = subprocess.run(
            [*command, *overrides, *flags], env=environ, capture_output=True, text=True,
            timeout=session.seconds(_RUN_S), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{name}: not done within {error.timeout:.0f} s") from None
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise Failed(f"{name}: exit code {done.returncode}: {lines[-1] if lines else 'no output'}")
    return json.loads((workdir / "summary.json").read_text(encoding="utf-8"))


_TABLES = {  # By the title, the batch, the examples of an epoch, and the peers.
    "the dense net, batch 64": (64, FEW_EXAMPLES, (
        Peer("Muster", "muster"),
        Peer("Keras fit, defaults", "keras_fit"),
        Peer("Keras fit, tuned", "keras_fit", ('steps_per_execution="epoch"', "jit_compile=true")),
    )),
    "the dense net, batch 1,024": (1024, FEW_EXAMPLES // 1024 * 1024, (
        Peer("Muster", "muster"),
        Peer("Keras fit, tuned", "keras_fit", ('steps_per_execution="epoch"', "jit_compile=true")),
    )),
    "two convolutions, batch 64": (64, SOME_EXAMPLES, (
        Peer("Muster", "muster", ("--net=cnn",)),
        Peer("Keras fit, an epoch a call", "keras_nets", ("cnn", "graph")),
    )),
    "a transformer, batch 64": (64, SOME_EXAMPLES, (
        Peer("Muster", "muster", ("--net=transformer",)),
        Peer("Keras fit, an epoch a call, jit", "keras_nets", ("transformer", "jit")),
    )),
}  # fmt: skip


def _table(session: Session) -> Iterator[str]:
    for title, (batch, examples, peers) in _TABLES.items():
        yield f"\none process, {title}, on one {session.device}: examples/s, peak MiB of its memory"
        for peer in peers:
            yield _row(session, peer, batch, examples)


def _devices(session: Session) -> Iterator[str]:
    yield f"\n--devices, the dense net, 512 examples each, on a {session.device}: examples/s, peak MiB"
    for count in range(1, session.gpus + 1):
        peer = Peer(f"Muster, {count}", "muster", (f"--devices={count}",))
        batch = 512 * count
        yield _row(session, peer, batch, FEW_EXAMPLES // batch * batch)


def _row(session: Session, peer: Peer, batch: int, examples: int) -> str:
    deadline_s = session.seconds(_PEER_S)
    file = _work(session, examples)
    with _GpuMemory(session.rehearses) as memory:
        found = run_peer(peer, Work(file, batch, 3, 1.0), deadline_s)
    speed = median({"rounds": [found]}, "examples_per_s")
    return f"{peer.name:<34}{speed:>12,.0f}{memory.peak}"


def _work(session: Session, examples: int) -> str:
    path = session.folder / f"work-{examples}.npz"
    if not path.exists():
        command = [sys.executable, "-m", prepare.__name__, str(session.folder)]
        subprocess.run(
            [*command, str(examples), str(MAX_EPOCHS)], check=True, capture_output=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )  # fmt: skip
    return str(path)


class _GpuMemory:
    """Inside it the memory in use on all GPUs is sampled. `peak`: the text of a cell."""

    def __init__(self, rehearses: bool):
        self.peak = "   not measured" if rehearses else ""
        self._is_over = threading.Event()
        self._peak_mib = 0
        self._thread = None if rehearses else threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "_GpuMemory":
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._is_over.set()
        if self._thread:
            self._thread.join(30)
            self.peak = f"{self._peak_mib:>12,}" if self._peak_mib else "   not measured"

    def _sample(self) -> None:
        while not self._is_over.wait(_SAMPLE_EVERY_S):
            try:
                used = sum(map(int, _nvidia_smi("memory.used")))
            except (Failed, ValueError):
                return  # The speed is still measured.
            self._peak_mib = max(self._peak_mib, used)


STEPS: dict[str, Callable[[Session], Iterator[str]]] = {
    "build": _build,
    "parity": _parity,
    "table": _table,
    "devices": _devices,
}


if __name__ == "__main__":
    sys.exit(main())
