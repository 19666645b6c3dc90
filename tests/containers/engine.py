"""How do tests run containers, and what did these leave behind?

Every wait has a bound, and what a test started is removed with it.
"""

import contextlib
import json
import pathlib
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping

from tests.cluster.cluster import ROOT, Process, Run

PATIENCE_S = 300.0  # For what should take 30 s, on a machine that is busy with other work.
RUNS = "/workspace/runs"
# As the compose files have it.
HARDENED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges:true",
)


def absence() -> str:
    """Why there is no engine to be had, or ""."""
    try:
        done = subprocess.run(
            ["docker", "info"], check=False, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["?"])[-1]


def docker(*args: str, timeout_s: float = PATIENCE_S) -> str:
    """What a command of docker printed. Raises AssertionError where it fails."""
    done = _done(args, timeout_s)
    assert done.returncode == 0, f"docker {' '.join(args)}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def exit_code(*args: str, timeout_s: float = PATIENCE_S) -> int:
    return _done(args, timeout_s).returncode


def _done(args: tuple[str, ...], timeout_s: float) -> subprocess.CompletedProcess:
    command = ["docker", *args]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)


def inspect(container: str) -> dict:
    return json.loads(docker("inspect", container))[0]


def signal_all(container: str, name: str) -> None:
    """Sends a signal to every process in a container but its init, which ends with them.

    Not `docker kill`, after which an engine starts nothing again.
    """
    run_python(container, f"import os, signal; os.kill(-1, signal.SIG{name})")  # May die with them.


def run_python(container: str, code: str) -> int:
    """The exit code of some Python inside of a container."""
    return exit_code("exec", container, "python", "-c", code)


def await_so(is_so, what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what} never came to be"
        time.sleep(0.2)  # An engine's events tell of states less well than a look.


@contextlib.contextmanager
def container(image: str, *args: str, options: tuple[str, ...] = ()) -> Iterator[str]:
    """A container under way, with a volume of its own for its runs; its name."""
    name = f"muster-test-{secrets.token_hex(4)}"
    mount = f"--volume={name}:{RUNS}"
    try:
        docker("run", "--detach", f"--name={name}", mount, *HARDENED, *options, image, *args)
        yield name
    finally:
        exit_code("rm", "--force", "--volumes", name)
        exit_code("volume", "rm", "--force", name)


def following(container: str) -> Process:
    """What a container says from its first word on, until it ends."""
    return Process(["logs", "--follow", container], program="docker")


def copied(container: str, run: str, folder: pathlib.Path) -> Run:
    """What a container, ended or not, has in its volume under this name."""
    docker("cp", f"{container}:{RUNS}/{run}", str(folder))
    return Run(folder / run)


class Project:
    """A compose file in a project of its own. A context manager, at whose end all of it is removed."""

    def __init__(self, file: str, image: str, **variables: str):
        self._name = f"muster-test-{secrets.token_hex(4)}"
        self._compose = [
            "compose",
            f"--file={ROOT / 'docker' / file}",
            f"--project-name={self._name}",
        ]
        self._environ: Mapping[str, str] = {"MUSTER_IMAGE": image, **variables}

    def __enter__(self):
        return self

    def __exit__(self, *unused: object) -> None:
        down = Process(
            [*self._compose, "down", "--volumes", "--timeout=1"], self._environ, (), "docker"
        )
        with down:
            down.wait()

    def up(self) -> Process:
        """`docker compose up`, under way."""
        return Process([*self._compose, "up"], self._environ, program="docker")

    def container(self, service: str, number: int = 1) -> str:
        return f"{self._name}-{service}-{number}"

    @property
    def network(self) -> str:
        return f"{self._name}_cluster"

    def containers(self) -> list[dict]:
        """What the engine knows of each."""
        label = f"label=com.docker.compose.project={self._name}"
        names = docker("ps", "--all", "--quiet", "--filter", label).split()
        return json.loads(docker("inspect", *names))

    def exit_codes(self) -> dict[str, int]:
        """Of the last end of each container that has ended."""
        return {
            one["Name"].removeprefix(f"/{self._name}-"): one["State"]["ExitCode"]
            for one in self.containers()
            if one["State"]["Status"] == "exited"
        }

    def finished(self, up: Process, timeout_s: float = PATIENCE_S) -> None:
        """Returns once every container has come to its end, all well."""
        assert up.wait(timeout_s) == 0, up.said
        codes = self.exit_codes()
        assert set(codes.values()) == {0} and len(codes) == len(self.containers()), up.said
