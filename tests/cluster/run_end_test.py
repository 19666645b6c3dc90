"""Does a task that starts after its run has ended end well, and no other that misses its peers?"""

import pytest

from tests.cluster import cluster

SHORT = "--startup_timeout_s=2"


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The workdir of a run that took its epoch."""
    workdir = tmp_path_factory.mktemp("ended")
    cluster.finished(cluster.training(workdir, "--config.train.epochs=1"), workdir)
    return workdir


@pytest.mark.parametrize(
    "job",
    ["worker", *(pytest.param(job, marks=pytest.mark.long) for job in ("ps", "chief"))],
)
def test_a_task_that_comes_after_the_end_of_its_run_ends_well(ended, job):
    (one,) = [
        one
        for one in cluster.clusters(chief=1, worker=2, ps=1)
        if one.task.type == job and one.task.index == 0
    ]
    with cluster.task(one, ended, SHORT, "--config.train.epochs=1") as late:
        assert late.wait() == 0, late.said
        assert f"done | the run in {ended} has already finished; nothing to do" in late.said
        assert "error" not in late.said


@pytest.mark.parametrize("place", [pytest.param(0, marks=pytest.mark.long), 1])
def test_a_task_whose_run_has_steps_left_misses_its_peers(ended, place):
    with cluster.task(
        cluster.clusters(worker=2)[place], ended, SHORT, "--config.train.epochs=2"
    ) as early:
        assert early.wait() == 75, early.said
        assert "worker" in early.error and "within 2 s" in early.error
