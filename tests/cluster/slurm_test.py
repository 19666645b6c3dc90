"""Do the tasks of a Slurm step train, and is a stopped job requeued?

The environment variables are those that a real Slurm 22.05 sets. The test starts the processes.
"""

import os
import shutil
import stat
import subprocess

import pytest

from tests.cluster import cluster

SCRIPTS = sorted((cluster.ROOT / "docker" / "slurm").glob("*.sbatch"))
STEP = {
    "SLURM_JOB_ID": str(os.getpid()),  # Another one, and so other ports, in each test session.
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
}


@pytest.mark.long
@pytest.mark.cold
def test_the_tasks_of_a_step_train_together(tmp_path):
    args = [*cluster.TRAINER, f"--workdir={tmp_path}", "--config.train.epochs=1"]
    ranks = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    with (
        cluster.Process(args, STEP | ranks[0]) as first,
        cluster.Process(args, STEP | ranks[1]) as second,
    ):
        second.await_line("worker 1 in a cluster of 2 workers (from Slurm)")
        assert (first.wait(), second.wait()) == (0, 0), first.said + second.said
    assert cluster.Run(tmp_path).summary["strategy"] == "multi_worker"


@pytest.fixture(params=SCRIPTS, ids=lambda script: script.stem)
def job(request, tmp_path):
    """Runs a script with fakes of Slurm's programs. Returns its exit code and the recorded calls."""
    for name, lines in {
        "srun": 'while [[ "$1" == --* ]]; do shift; done\nexec "$@"',
        "python": 'echo "$*" >> "$CALLS"\nexit "$CODE"',
        "scontrol": 'echo "scontrol $*" >> "$CALLS"',
    }.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{lines}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    calls = tmp_path / "calls"

    def run(code, *flags, **environ):
        calls.write_text("")
        own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": "python", "CALLS": str(calls)}
        own |= {"CODE": str(code), "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "muster"}
        done = subprocess.run(
            ["bash", request.param, *flags], env=own | environ, check=False, timeout=30
        )
        return done.returncode, calls.read_text().splitlines()

    return run


def test_a_job_that_can_be_resumed_is_requeued(request, job):
    code, (ran, asked) = job(75, "--config=mnist_dense")
    assert code == 75 and asked == "scontrol requeue 7"
    verb = {"train": "", "sweep": "tune "}[request.node.callspec.id]
    assert ran == f"-m trainer {verb}--workdir=runs/muster-7 --config=mnist_dense"


@pytest.mark.parametrize("code", [0, 1, 2, 137])
def test_any_other_exit_code_is_the_jobs(job, code):
    ended, calls = job(code)
    assert ended == code and len(calls) == 1


def test_a_job_is_not_requeued_forever(job):
    code, calls = job(75, SLURM_RESTART_COUNT="100")
    assert code == 75 and len(calls) == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_shellcheck_accepts_the_script(script):
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck")
    found = subprocess.run(["shellcheck", script], check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
