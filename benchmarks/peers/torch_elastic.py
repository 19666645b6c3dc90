"""How long does torchrun take to its first step, and back after a worker is killed?

    python -m benchmarks.peers.torch_elastic WORK start|restart NUM_WORKERS

The workers run `torch_elastic_worker.py`: the same net over gloo, a line a step, a checkpoint every 100
steps. torchrun looks for dead workers ten times a second, which is the fastest that its users set.
"""

import os
import pathlib
import signal
import sys
import tempfile
import time

from benchmarks.peers import torch_elastic_worker
from benchmarks.peers.launched import Cluster
from benchmarks.work import say

_STEADY_S = 2.0


def main() -> None:
    _, _, kind, workers = sys.argv
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *(f"--nproc-per-node={workers}", "--max-restarts=3", "--monitor-interval=0.1"),
            *(torch_elastic_worker.__file__, folder),
        ]
        began = time.perf_counter()
        with Cluster(command) as cluster:
            memory = cluster.sample_memory()
            cluster.await_line("step 1 ")
            if kind == "restart":
                time.sleep(_STEADY_S)
                cluster.skip_lines()
                pid = int(pathlib.Path(folder, "pid-1").read_text())
                began = time.perf_counter()
                os.kill(pid, signal.SIGKILL)
                cluster.await_line(r"resuming")
                cluster.await_line("step ")
            say(seconds=time.perf_counter() - began, peak_mib=memory.peak_mib())


if __name__ == "__main__":
    main()
