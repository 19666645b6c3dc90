"""Does a run whose machine is lost, at any write to its bucket, go on on another as if it were not?"""

import random
import signal

import pytest

from tests.bucket_server import BUCKET
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
WRITES = 50  # Of such a run, at least, from its lease to its summary.

pytestmark = pytest.mark.timeout(900)


def test_a_run_goes_on_after_any_write_that_its_machine_came_to(
    request, bucket, monkeypatch, tmp_path
):
    rng = random.Random(f"{conftest.seed(request.config)}, bucket")
    losses = 10 if conftest.is_long(request.config) else 1
    lost = 0
    for number in range(losses):
        lost += _lost_a_machine(
            bucket, monkeypatch, tmp_path / f"{number}", rng.randrange(1, WRITES)
        )
    assert lost
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with cluster.training(f"gs://{BUCKET}/{FOLDER}", *FLAGS) as process:
        assert process.wait() == 0, process.said
    run = Run(bucket.copy(FOLDER, tmp_path / "copy"))
    whole = cluster.finished(cluster.training(tmp_path / "whole", *FLAGS), tmp_path / "whole")
    assert run.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert len((run.workdir / "metrics.jsonl").read_text().splitlines()) == len(
        (whole.workdir / "metrics.jsonl").read_text().splitlines()
    )


def _lost_a_machine(bucket, monkeypatch, its_files, at_write: int) -> bool:
    """Trains until so many writes have arrived, or the end; what it had here is never seen again."""
    its_files.mkdir()
    monkeypatch.setenv("TMPDIR", str(its_files))
    process = cluster.training(f"gs://{BUCKET}/{FOLDER}", *FLAGS)
    left = [at_write]

    def kill_in_time() -> None:
        left[0] -= 1
        if left[0] == 0:
            process.send(signal.SIGKILL)

    bucket.after_write = kill_in_time
    with process:
        code = process.wait()
    bucket.after_write = lambda: None
    assert code in (-signal.SIGKILL, 0), process.said
    # Who knows that a machine is gone need not wait until that is seen.
    bucket.storage.delete_file(BUCKET, f"{FOLDER}/{lease.OBJECT_NAME}")
    return code != 0
