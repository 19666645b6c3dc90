"""How do tests run containers and read the files that they wrote?

By Docker's command line. Every wait has a deadline, and everything that a test starts is removed.
"""

import contextlib
import json
import pathlib
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping

from tests.cluster.cluster import ROOT, Process, Run

PATIENCE_S = 300.0  # For what should take 30 s, on a busy machine.
RUNS = "/workspace/runs"
# As in the compose files.
HARDENED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges:true",
)


def unavailable_reason() -> str:
    """Why no Docker engine is available, or ""."""
    try:
        done = subprocess.run(
            ["docker", "info"], check=False, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["?"])[-1]


def docker(*args: str, timeout_s: float = PATIENCE_S) -> str:
    """The output of a docker command. Raises AssertionError if it fails."""
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
    """Sends a signal to every process in a container except its init, which ends with them.

    `docker kill` would not do: after it the engine does not restart the container.
    """
    # The process that sends it may be killed too.
    run_python(container, f"import os, signal; os.kill(-1, signal.SIG{name})")


def run_python(container: str, code: str) -> int:
    """The exit code of Python code that runs inside a container."""
    return exit_code("exec", container, "python", "-c", code)


def wait_until(is_true, what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.2)  # Docker's events do not report every state, so it is polled.


@contextlib.contextmanager
def container(image: str, *args: str, options: tuple[str, ...] = ()) -> Iterator[str]:
    """Starts a container with its own volume for runs, and yields its name."""
    name = f"muster-test-{secrets.token_hex(4)}"
    mount = f"--volume={name}:{RUNS}"
    try:
        docker("run", "--detach", f"--name={name}", mount, *HARDENED, *options, image, *args)
        yield name
    finally:
        exit_code("rm", "--force", "--volumes", name)
        exit_code("volume", "rm", "--force", name)


def follow_logs(container: str) -> Process:
    """The log of a container, from its start until it ends."""
    return Process(["logs", "--follow", container], program="docker")


def copy_run(container: str, run: str, folder: pathlib.Path) -> Run:
    """A copy of the run of this name in a container's volume; the container may have ended."""
    docker("cp", f"{container}:{RUNS}/{run}", str(folder))
    return Run(folder / run)


class Project:
    """A compose file as a separate project. A context manager: on exit the project is removed."""

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
        """Starts `docker compose up`."""
        return Process([*self._compose, "up"], self._environ, program="docker")

    def container(self, service: str, number: int = 1) -> str:
        return f"{self._name}-{service}-{number}"

    @property
    def network(self) -> str:
        return f"{self._name}_cluster"

    def containers(self) -> list[dict]:
        """`docker inspect` of each container."""
        label = f"label=com.docker.compose.project={self._name}"
        names = docker("ps", "--all", "--quiet", "--filter", label).split()
        return json.loads(docker("inspect", *names))

    def exit_codes(self) -> dict[str, int]:
        """The last exit code of each container that has exited."""
        return {
            one["Name"].removeprefix(f"/{self._name}-"): one["State"]["ExitCode"]
            for one in self.containers()
            if one["State"]["Status"] == "exited"
        }

    def wait_for_success(self, up: Process, timeout_s: float = PATIENCE_S) -> None:
        """Waits until every container has exited, and checks that all exited with 0."""
        assert up.wait(timeout_s) == 0, up.said
        codes = self.exit_codes()
        assert set(codes.values()) == {0} and len(codes) == len(self.containers()), up.said
