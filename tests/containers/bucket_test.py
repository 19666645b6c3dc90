"""Does a container that keeps nothing go on with what a bucket holds?"""

from tests.bucket_server import BUCKET
from tests.cluster.cluster import Run
from tests.containers import engine
from tests.containers.engine import PATIENCE_S

FOLDER = "runs/one"
FLAGS = (
    "--config.train.epochs=100",
    "--config.train.steps_per_loop=2",
    f"--workdir=gs://{BUCKET}/{FOLDER}",
)


def test_a_container_that_is_stopped_is_followed_by_a_new_one_to_the_same_weights(
    image, bucket, tmp_path
):
    """Without a volume: what the first had is gone with it."""
    options = "--network=host", *(f"--env={name}={value}" for name, value in bucket.environ.items())
    with engine.container(image, *FLAGS, options=options) as name:
        with engine.following(name) as screen:
            screen.await_line("train      | step     120", PATIENCE_S)
            engine.docker("stop", "--time=60", name)
            screen.wait(PATIENCE_S)
        assert engine.inspect(name)["State"]["ExitCode"] == 75, screen.said
    shas = []
    for number in (1, 2):
        with engine.container(image, *FLAGS, options=options) as name:
            with engine.following(name) as screen:
                screen.wait(PATIENCE_S)
            assert engine.inspect(name)["State"]["ExitCode"] == 0, screen.said
        run = Run(bucket.copy(FOLDER, tmp_path / f"{number}"), screen.said)
        shas.append(run.summary["weights_sha256"])
        assert ("resuming at step" in run.screen) == (number == 1)
        if number == 1:  # And then from its beginning, for comparison.
            bucket.wipe(FOLDER)
    assert shas[0] == shas[1]
