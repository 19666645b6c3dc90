"""Does `plan` predict how fast workers train over a slow link?

    python -m benchmarks.plan [SECONDS]

It measures a plan of a small net, and trains the same net on 2 workers for about SECONDS (20) at each
rate and in each mode, each task on a host of its own (`hosts.py`). It prints a table of predicted and
measured speeds, and of the bytes that the first worker sent. A worker has a core of its own, and the
plan is measured on one core; but all tasks of parameter servers share the cores, as there are more of
them. Predictions are for the rate at which a
link did carry messages (`carried.py`). It needs root, and a core for each worker.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.hosts import Hosts, HostsMissing
from benchmarks.processes import on_core
from trainer.estimate.cost_model import Calibration, CostModel, Row, Sizes, Variant, Work
from trainer.estimate.traffic import Link

WORKERS = 2
RATES = (20e6, 100e6, 1e9)  # Bits per second.
MODES = {  # By the name in a plan: the flags of a run.
    "gradients": (),
    "parameters": ("--config.sync.mode=parameters",),
    "parameters:int8": ("--config.sync.mode=parameters", "--config.sync.compression=int8"),
}
SERVED = {"async_window": ("--config.sync.mode=async_window",)}  # By parameter servers.
_CONFIG = ("--config.train.eval_every_epochs=0", "--config.train.checkpoint_every_steps=1000000")
_PORT, _TIMEOUT_S = 2222, 900.0


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    plans = [_plan(MODES, 0), _plan(SERVED, None)]
    rows = [(plan, found) for plan in plans for found in plan["rows"]]
    print(
        "| link (carries) | mode | predicted, examples/s | measured | error | bytes, predicted | sent |"
    )
    print("|---|---|---|---|---|---|---|")
    for rate in RATES:
        carried = _carried(rate)
        for plan, found in rows:
            row = _model(plan, carried).row(_variant(found), WORKERS)
            assert row  # The plan has it.
            speed, sent = _measured(row, rate, seconds, plan["work"]["examples"])
            error = row.examples_per_s / speed - 1
            print(
                f"| {rate / 1e6:g} ({carried / 1e6:.0f}) mbit | {row.variant.sentence} | "
                f"{row.examples_per_s:,.0f} | {speed:,.0f} | {error:+.0%} | "
                f"{row.traffic.sent_bytes:,} | {sent:,.0f} |",
                flush=True,
            )


def _plan(modes: Iterable[str], core: int | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "trainer", "plan", "--json", f"--workers={WORKERS}"]
    command += [f"--modes={','.join(modes)}", *_CONFIG]
    with on_core(core):
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def _model(plan: dict[str, Any], rate: float) -> CostModel:
    measured, sizes = Calibration(**plan["measured"]), Sizes(**plan["sizes"])
    return CostModel(measured, sizes, Work(**plan["work"]), Link(rate, 0.0))


def _carried(rate: float) -> float:
    """Bits per second of a link with this limit."""
    with Hosts(2, rate) as hosts:
        module = [sys.executable, "-m", "benchmarks.carried", hosts.addresses[0], str(_PORT)]
        accept = [*hosts.within(0), *module, "accept"]
        with subprocess.Popen(accept, stdout=subprocess.PIPE) as other:
            try:
                assert other.stdout
                other.stdout.readline()  # It listens.
                command = [*hosts.within(1), *module, "connect"]
                return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            finally:
                other.kill()


def _variant(found: dict[str, Any]) -> Variant:
    return Variant(found["mode"], found["compression"], found["interval"])


def _measured(row: Row, rate: float, seconds: float, examples: int) -> tuple[float, float]:
    """Examples per second of a run, and the bytes that a worker sent for each agreement.

    `examples`: of an epoch.
    """
    jobs = ["worker"] * WORKERS
    if row.variant.mode == "async_window":
        jobs = ["chief", *jobs, "ps"]
    with Hosts(len(jobs), rate) as hosts, tempfile.TemporaryDirectory() as folder:
        flags = [*_CONFIG, *(MODES | SERVED)[row.variant.name]]
        epochs = max(2, round(row.examples_per_s * seconds / examples))
        flags.append(f"--config.train.epochs={epochs}")
        if row.variant.mode == "async_window":
            flags.append(f"--config.sync.window_steps={row.variant.interval}")
        with _tasks(jobs, hosts, flags, folder) as tasks:
            for task in tasks:
                if task.wait(_TIMEOUT_S):
                    log = pathlib.Path(folder, "0.log").read_text(encoding="utf-8")
                    raise RuntimeError(f"a task ended with {task.returncode}: {log[-2000:]}")
        summary = json.loads(pathlib.Path(folder, "run", "summary.json").read_text("utf-8"))
        windows = summary["steps"] / row.variant.interval / WORKERS  # Of one worker.
        agreements = summary.get("agreements", windows)
        return summary["examples_per_s"], hosts.sent_bytes(jobs.index("worker")) / agreements


@contextlib.contextmanager
def _tasks(
    jobs: list[str], hosts: Hosts, flags: list[str], folder: str
) -> Iterator[list[subprocess.Popen]]:
    """The tasks of a cluster, each on its host. Those that are left are killed."""
    cluster: dict[str, list[str]] = {}
    for job, address in zip(jobs, hosts.addresses, strict=True):
        cluster.setdefault(job, []).append(f"{address}:{_PORT}")
    tasks = []
    try:
        for place, job in enumerate(jobs):
            index = jobs[:place].count(job)
            text = json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})
            workdir = f"--workdir={folder}/run"
            command = [*hosts.within(place), sys.executable, "-m", "trainer", workdir, *flags]
            core = None if "ps" in jobs else index
            with open(f"{folder}/{place}.log", "w", encoding="utf-8") as log, on_core(core):
                tasks.append(
                    subprocess.Popen(
                        command,
                        env={**os.environ, "TF_CONFIG": text},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )
        yield tasks
    finally:
        for task in tasks:
            if task.poll() is None:
                task.kill()
            task.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that no host is left behind.
    try:
        main()
    except HostsMissing as error:
        sys.exit(str(error))
