"""Does a disk that takes no more cost anything but time?

Each disk is a small one in memory, made and removed here; that needs root.
"""

import contextlib
import pathlib
import subprocess
from collections.abc import Callable

import pytest

from tests.cluster import cluster
from tests.faults import runs
from trainer.config import load as config_load
from trainer.data import registry
from trainer.storage.workdir import Workdir
from trainer.training import assemble

LAYOUT = runs.LAYOUTS["1 process"]


class Disk:
    """A folder of its own size."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def resize(self, num_bytes: int) -> None:
        self.set(f"size={num_bytes}")

    def set(self, options: str) -> None:
        command = ["mount", "-o", f"remount,{options}", self.path]
        subprocess.run(command, check=True, capture_output=True)

    def fill_up(self, room: int, is_quiet: Callable[[], bool]) -> None:
        """Leaves `room` bytes more than are used at a moment at which `is_quiet()`."""
        while True:
            with contextlib.suppress(subprocess.CalledProcessError):  # More is used by now.
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
        pytest.skip(f"needs a mount of its own: {made.stderr.strip()}")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", path], check=True)


def _ends_naming_the_workdir(process: cluster.Process) -> str:
    with process:
        assert process.wait() == 2, process.said
        assert "`--workdir`" in process.error
        return process.error


def _newest(workdir: pathlib.Path) -> int:
    """The step of the newest checkpoint; every one that is there must be whole."""
    config = config_load.resolve(str(workdir / "config.json"))
    dataset = registry.load(config.data)
    program = assemble.training_program(config, dataset)
    store = assemble.checkpoint_store(config, program, dataset, Workdir(workdir))
    return [store.read(step).step for step in store.steps()][-1]


def _goes_on(workdir: pathlib.Path, step: int, undisturbed) -> None:
    """The same command again ends as a run that nothing happened to."""
    run = cluster.finished(LAYOUT.start(workdir), workdir)
    assert f"resuming at step {step}" in run.screen
    assert run.summary["weights_sha256"] == undisturbed.summary["weights_sha256"]


@pytest.mark.long
def test_a_disk_too_small_for_three_checkpoints_keeps_those_it_took(disk, undisturbed):
    disk.resize(3 << 20)
    workdir = disk.path / "run"
    error = _ends_naming_the_workdir(LAYOUT.start(workdir))
    assert "took no checkpoint of step 150 (No space left on device)" in error
    assert _newest(workdir) == 100
    disk.resize(64 << 20)
    _goes_on(workdir, 100, undisturbed)


def test_a_disk_that_fills_up_in_mid_run_keeps_the_newest_checkpoint(disk, rng, undisturbed):
    workdir = disk.path / "run"
    checkpoints = workdir / "checkpoints"
    epoch = rng.randrange(8, 35)
    with LAYOUT.start(workdir) as process:
        process.await_line(f"epoch {epoch:6.2f}")
        # Not while a save is under way: what it gives back would leave room for the next one.
        disk.fill_up(rng.randrange(1 << 16), lambda: len([*checkpoints.iterdir()]) == 3)
        _ends_naming_the_workdir(process)
    step = _newest(workdir)
    # The line comes before the checkpoint of its own step, where there is one.
    assert step >= (epoch * 24 - 1) // runs.CHECKPOINT_EVERY * runs.CHECKPOINT_EVERY
    disk.resize(64 << 20)
    _goes_on(workdir, step, undisturbed)


def test_a_disk_that_is_full_from_the_start_is_told_at_once(disk):
    disk.resize(4096)
    (disk.path / "ballast").write_bytes(bytes(4096))
    error = _ends_naming_the_workdir(LAYOUT.start(disk.path / "run"))
    assert "No space left on device" in error


def test_a_workdir_that_may_only_be_read_is_told_at_once(disk):
    disk.set("ro")
    error = _ends_naming_the_workdir(LAYOUT.start(disk.path / "run"))
    assert "Read-only file system" in error
