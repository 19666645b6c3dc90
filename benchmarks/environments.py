"""In which Python does a peer run?

It runs in Muster's own, or in a virtual environment under `.venv-bench/`, which is created when a peer
first needs it. Versions are pinned, so that two runs of a benchmark measure the same peers. pip's own
settings apply: PyPI's PyTorch for Linux brings CUDA along, and an index of its wheels for the CPU saves
that download.
"""

import functools
import pathlib
import shutil
import subprocess
import sys

MUSTER = "muster"
_TORCH, _JAX, _NUMPY = "torch==2.13.0", "jax==0.10.2", "numpy==2.4.6"
PINS = {
    "torch": (_TORCH, _NUMPY),
    "torch_files": (_TORCH, _NUMPY, "pillow==13.0.0"),
    "jax": (_JAX, "keras==3.15.1", _NUMPY),
    "floor": (_TORCH, _JAX, _NUMPY),
    "tf_keras": ("tensorflow==2.21.0", "tf_keras==2.21.0"),
    "orbit": ("tf-models-official==2.20.0",),  # Asks for TensorFlow 2.20.
}
_FOLDER = pathlib.Path(__file__).resolve().parents[1] / ".venv-bench"
_DEADLINE_S = 1200.0


class EnvironmentFailed(Exception):
    """It could not be created; the message gives the reason in one line."""


@functools.cache
def python(name: str, folder: pathlib.Path = _FOLDER) -> str:
    """The path of an environment's Python, which is created first where it is missing.

    Raises EnvironmentFailed where that fails.
    """
    if name == MUSTER:
        return sys.executable
    home, pins = folder / name, PINS[name]
    made = home / "made"
    if not made.exists() or made.read_text().split() != list(pins):
        _make(home, pins)
        made.write_text("\n".join(pins))
    return str(home / "bin" / "python")


def _make(home: pathlib.Path, pins: tuple[str, ...]) -> None:
    print(f"making {home} with {', '.join(pins)}", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    _do(sys.executable, "-m", "venv", str(home))
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    _do(*pip, "--upgrade", "pip>=24")
    _do(*pip, *pins)


def _do(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFailed(f"pip was not done within {_DEADLINE_S:g} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        lines = errors or done.stderr.splitlines() or [f"exit code {done.returncode}"]
        raise EnvironmentFailed(lines[0].removeprefix("ERROR: "))
