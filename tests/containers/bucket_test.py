"""Does a container without a volume resume from a bucket?"""

from tests.buckets.served import BUCKET
from tests.cluster.cluster import Run
from tests.containers import engine
from tests.containers.engine import PATIENCE_S

FOLDER = "runs/one"
FLAGS = (
    "--config.train.epochs=100",
    "--config.train.steps_per_loop=2",
    f"--workdir=gs://{BUCKET}/{FOLDER}",
)


def test_a_new_container_resumes_the_run_of_a_stopped_one_to_the_same_weights(
    image, bucket, tmp_path
):
    """Without a volume, the files of the first container are lost with it."""
    options = "--network=host", *(f"--env={name}={value}" for name, value in bucket.environ.items())
    with engine.container(image, *FLAGS, options=options) as name:
        with engine.follow_logs(name) as screen:
            screen.await_line("train      | step     120", PATIENCE_S)
            engine.docker("stop", "--time=60", name)
            screen.wait(PATIENCE_S)
        assert engine.inspect(name)["State"]["ExitCode"] == 75, screen.said
    shas = []
    for number in (1, 2):
        with engine.container(image, *FLAGS, options=options) as name:
            with engine.follow_logs(name) as screen:
                screen.wait(PATIENCE_S)
            assert engine.inspect(name)["State"]["ExitCode"] == 0, screen.said
        run = Run(bucket.copy(FOLDER, tmp_path / f"{number}"), screen.said)
        shas.append(run.summary["weights_sha256"])
        assert ("resuming at step" in run.screen) == (number == 1)
        if number == 1:  # The second one trains from step 0, for comparison.
            bucket.wipe(FOLDER)
    assert shas[0] == shas[1]
