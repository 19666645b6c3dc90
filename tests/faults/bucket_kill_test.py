"""Does a run whose machine is lost at any write to its bucket resume on another to the same result?"""

import random
import signal

import pytest

from tests.buckets import servers
from tests.cluster import cluster
from tests.cluster.cluster import Run
from tests.faults import conftest
from trainer.storage.remote import lease

FOLDER = "runs/one"
FLAGS = (
    "--config.model.hidden_units=8",
    "--config.train.steps=2400",
    "--config.train.steps_per_loop=5",
    "--config.train.eval_every_epochs=50",
    "--config.train.checkpoint_every_steps=20",
)
WRITES = 50  # Such a run makes at least this many, from its lease to its summary.

KINDS = ["gs", *(pytest.param(kind, marks=pytest.mark.long) for kind in servers.KINDS[1:])]


@pytest.mark.parametrize("bucket", KINDS, indirect=True)
def test_a_run_resumes_after_its_machine_was_lost_at_any_write(
    request, bucket, monkeypatch, tmp_path
):
    rng = random.Random(f"{conftest.seed(request.config)}, bucket")
    losses = 10 if conftest.is_long(request.config) else 1
    lost = 0
    for number in range(losses):
        lost += _train_and_kill(
            bucket, monkeypatch, tmp_path / f"{number}", rng.randrange(1, WRITES)
        )
    assert lost
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with cluster.training(f"{bucket.folder_url}/{FOLDER}", *FLAGS) as process:
        assert process.wait() == 0, process.said
    run = Run(bucket.copy(FOLDER, tmp_path / "copy"))
    workdir = tmp_path / "uninterrupted"
    uninterrupted = cluster.finished(cluster.training(workdir, *FLAGS), workdir)
    assert run.summary["weights_sha256"] == uninterrupted.summary["weights_sha256"]
    assert len((run.workdir / "metrics.jsonl").read_text().splitlines()) == len(
        (uninterrupted.workdir / "metrics.jsonl").read_text().splitlines()
    )


def _train_and_kill(bucket, monkeypatch, local_files, at_write: int) -> bool:
    """Trains on a new machine and kills it at that write. Whether it was killed before the end."""
    local_files.mkdir()
    monkeypatch.setenv("TMPDIR", str(local_files))
    process = cluster.training(f"{bucket.folder_url}/{FOLDER}", *FLAGS)
    left = [at_write]

    def kill_at_write() -> None:
        left[0] -= 1
        if left[0] == 0:
            process.send(signal.SIGKILL)

    bucket.after_write = kill_at_write
    with process:
        code = process.wait()
    bucket.after_write = lambda: None
    assert code in (-signal.SIGKILL, 0), process.said
    # Saves the time in which the lease would expire.
    bucket.delete(f"{FOLDER}/{lease.OBJECT_NAME}")
    return code != 0
