"""Do runs share compiled programs, and are their weights the same without them?"""

import pathlib

from tests.cluster import cluster
from tests.cluster.cluster import Process

ONE_EPOCH = "--config.train.epochs=1"


def _programs(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    """When each file of the folder was last written or used."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_runs_trials_and_evaluations_share_programs_and_get_the_same_bits(tmp_path):
    kept = tmp_path / "kept"
    cached, faster = f"--compile_cache={kept}", "--config.optimizer.learning_rate=0.003"

    def weights(name: str, *flags: str) -> str:
        run = cluster.training(tmp_path / name, ONE_EPOCH, *flags)
        return cluster.finished(run, tmp_path / name).summary["weights_sha256"]

    expected = weights("off", faster, "--compile_cache=off")
    weights("cold", cached)
    cold = _programs(kept)
    assert len(cold) >= 2  # Of the loop and of the evaluation.
    assert weights("warm", faster, cached) == expected
    warm = _programs(kept)
    assert warm.keys() == cold.keys() and all(warm[path] > cold[path] for path in cold)

    rates = "--space.optimizer.learning_rate=0.001|0.003"
    sweep = ("tune", f"--workdir={tmp_path / 'sweep'}", "--config=digits_dense", "--tuner=grid")
    with Process([*cluster.TRAINER, *sweep, ONE_EPOCH, rates, "--", cached]) as process:
        assert process.wait() == 0, process.said
    trials = [cluster.Run(path.parent) for path in tmp_path.glob("sweep/trials/*/summary.json")]
    assert len(trials) == 2 and expected in {one.summary["weights_sha256"] for one in trials}
    assert _programs(kept).keys() == cold.keys()

    for path in cold:
        path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    evaluate = Process([*cluster.TRAINER, "evaluate", f"--workdir={tmp_path / 'warm'}", cached])
    summary = cluster.finished(evaluate, tmp_path / "warm").summary
    assert cluster.printed_json(evaluate)["loss"] == summary["test_loss"]
    assert not _programs(kept).keys() & cold.keys()  # Deleted, and what is needed compiled.


def test_a_folder_that_others_can_write_to_ends_the_run_with_one_line(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    kept.chmod(0o777)
    workdir = f"--workdir={tmp_path / 'run'}"
    for command in ((workdir,), ("launch", "--", workdir), ("tune", workdir, "--")):
        run = Process([*cluster.TRAINER, *command, f"--compile_cache={kept}"])
        with run:
            assert run.wait() == 2, run.said
        assert f"Received: {str(kept)!r}; others can write to {kept}" in run.said
    assert list(kept.iterdir()) == []
