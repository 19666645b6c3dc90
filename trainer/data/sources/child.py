"""How is data prepared by code that may hang, or needs TensorFlow, without either reaching this process?

In a child process with a deadline. It exits when its parent does, and its last line on stderr is its
error.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from strategies import tensorflow_import


def run(module: str, job: Mapping[str, Any], timeout_s: float) -> str:
    """Has `main` of a module do a job, for at most `timeout_s` seconds. Returns why it failed, or ""."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, json.dumps(job)],
        cwd=Path(__file__).resolve().parents[3],
        stdin=subprocess.PIPE,  # The child exits when this pipe closes, as when this process dies.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    stdin, stderr = process.stdin, process.stderr
    assert stdin and stderr  # Both are pipes.
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(stderr), daemon=True)
    reader.start()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return f"not finished within `data.download_timeout_s`={timeout_s:g}; raise it"
    finally:
        process.kill()
        process.wait()
        stdin.close()
        reader.join(timeout=5)
        stderr.close()
    if not process.returncode:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "it was killed")


def main(do: Callable[[dict[str, Any]], None]) -> None:
    """Does the job of the command line, as the child."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # In this process only: it needs no accelerator, and nothing but its error is read.
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    tensorflow_import.set_environ_defaults()
    try:
        do(json.loads(sys.argv[1]))
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        sys.exit(f"{type(error).__name__}: {text}")


def _end_with_parent() -> None:
    """Exits when the parent's end of stdin closes, however the parent died."""
    os.read(0, 1)  # Not sys.stdin: a thread that reads it aborts the program at its end.
    os._exit(1)
