"""Does a run survive a full disk without losing a checkpoint?

Each disk is a small file system in memory, which is mounted here; that needs root.
"""

import contextlib
import pathlib
import subprocess
from collections.abc import Callable

import pytest

from tests.cluster import cluster, held
from tests.faults import runs
from trainer.config import load as config_load
from trainer.data import registry
from trainer.storage.workdir import Workdir
from trainer.training import assemble, programs

LAYOUT = runs.LAYOUTS["1 process"]


class Disk:
    """A folder of limited size."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def resize(self, num_bytes: int) -> None:
        self.set(f"size={num_bytes}")

    def set(self, options: str) -> None:
        command = ["mount", "-o", f"remount,{options}", str(self.path)]
        subprocess.run(command, check=True, capture_output=True)

    def fill_up(self, room: int, is_quiet: Callable[[], bool]) -> None:
        """Leaves `room` bytes free, measured at a moment when `is_quiet()` is true."""
        while True:
            with contextlib.suppress(subprocess.CalledProcessError):  # More has been used since.
                used = self._used()
                if is_quiet():
                    return self.resize(used + room)

    def _used(self) -> int:
        listed = subprocess.run(
            ["df", "--block-size=1", "--output=used", self.path],
            check=True,
            capture_output=True,
            text=True,
        )
        return int(listed.stdout.split()[-1])


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "muster-test", path],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a file system: {made.stderr.strip()}")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", path], check=True)


def _error_about_the_workdir(process: cluster.Process) -> str:
    with process:
        assert process.wait() == 2, process.said
        assert "`--workdir`" in process.error
        return process.error


def _newest(workdir: pathlib.Path) -> int:
    """The step of the newest checkpoint. All checkpoints must be intact."""
    config = config_load.resolve(str(workdir / "config.json"))
    dataset = registry.load(config.data)
    program = programs.training_program(config, dataset)
    store = assemble.checkpoint_store(config, program, dataset, Workdir(workdir))
    return [store.read(step).step for step in store.steps()][-1]


def _assert_resumes(workdir: pathlib.Path, step: int, undisturbed) -> None:
    """The same command again ends with the weights of an uninterrupted run."""
    run = cluster.finished(LAYOUT.start(workdir), workdir)
    assert f"resuming at step {step}" in run.screen
    assert run.summary["weights_sha256"] == undisturbed.summary["weights_sha256"]


@pytest.mark.long
def test_a_disk_too_small_for_three_checkpoints_keeps_the_first_ones(disk, undisturbed):
    disk.resize(3 << 20)
    workdir = disk.path / "run"
    error = _error_about_the_workdir(LAYOUT.start(workdir))
    assert "could not store the checkpoint of step 150 (No space left on device)" in error
    assert _newest(workdir) == 100
    disk.resize(64 << 20)
    _assert_resumes(workdir, 100, undisturbed)


def test_a_disk_that_fills_up_during_a_run_keeps_the_newest_checkpoint(disk, rng, undisturbed):
    workdir = disk.path / "run"
    checkpoints = workdir / "checkpoints"
    epoch = rng.randrange(8, 35)
    with held.before(epoch + 2) as hold, LAYOUT.start(workdir) as process:
        process.await_line(f"epoch {epoch:6.2f}")
        # Not during a save: the space that it frees would suffice for the next one.
        disk.fill_up(rng.randrange(1 << 16), lambda: len([*checkpoints.iterdir()]) == 3)
        hold.release()
        _error_about_the_workdir(process)
    step = _newest(workdir)
    # The line is printed before the checkpoint of the same step is saved.
    assert step >= (epoch * 24 - 1) // runs.CHECKPOINT_EVERY * runs.CHECKPOINT_EVERY
    disk.resize(64 << 20)
    _assert_resumes(workdir, step, undisturbed)


def test_a_disk_that_is_full_at_the_start_is_reported_at_once(disk):
    disk.resize(4096)
    (disk.path / "ballast").write_bytes(bytes(4096))
    error = _error_about_the_workdir(LAYOUT.start(disk.path / "run"))
    assert "No space left on device" in error


def test_a_read_only_workdir_is_reported_at_once(disk):
    disk.set("ro")
    error = _error_about_the_workdir(LAYOUT.start(disk.path / "run"))
    assert "Read-only file system" in error
