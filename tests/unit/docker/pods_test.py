"""Do the manifests' pods train, and can Kubernetes detect whether they make progress?

They run as processes on this machine, with their arguments and environment but with other host names.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from tests.cluster import cluster, pods
from tests.cluster.manifests import FOLDER, JOBS, SWEEP, TEMPLATES, TRAINJOBS_JOB, labels, of
from trainer.cli import parser as cli_parser
from trainer.config import load as config_load
from trainer.process import health, watchdog


def health_file():
    """The file in which the image's tasks record their progress."""
    (path,) = re.findall(rf"{health.VARIABLE}=(\S+)", (FOLDER.parent / "Dockerfile").read_text())
    return path


def probes(name):
    """The startup probe and the liveness probe of a Job's pods."""
    (container,) = TEMPLATES[name]["spec"]["containers"]
    return container["startupProbe"], container["livenessProbe"]


@pytest.mark.parametrize("name", JOBS)
def test_the_file_that_a_probe_reads_is_where_a_pod_can_write(name):
    (container,) = TEMPLATES[name]["spec"]["containers"]
    folder = str(pathlib.PurePosixPath(health_file()).parent)
    (volume,) = [one["name"] for one in container["volumeMounts"] if one["mountPath"] == folder]
    assert "emptyDir" in {one["name"]: one for one in TEMPLATES[name]["spec"]["volumes"]}[volume]
    assert health.VARIABLE not in {one["name"] for one in container["env"]}  # The image sets it.


@pytest.mark.parametrize("name", JOBS)
def test_no_probe_ends_a_pod_before_the_pods_own_deadlines(name):
    options = cli_parser.parse(pods.of(JOBS[name])[0].args)
    train = cli_parser.parse(options.trainer_args) if options.verb == "tune" else options
    startup, liveness = probes(name)
    assert startup["exec"] == liveness["exec"]
    *_, limit_s = liveness["exec"]["command"]
    assert float(limit_s) >= train.stall_timeout_s + watchdog.TIMER_DELAY_S + 30
    # Its data, its workdir, its peers, and TensorFlow's servers.
    download_s = config_load.resolve(options.config, {}).data.download_timeout_s
    waits_s = download_s + 3 * options.startup_timeout_s
    assert startup["periodSeconds"] * startup["failureThreshold"] > waits_s
    # Python starts in a tenth of that, even on a busy machine.
    assert startup["timeoutSeconds"] >= 10 and liveness["timeoutSeconds"] >= 10


@pytest.mark.parametrize("name", JOBS)
def test_a_pod_that_does_not_train_yet_has_a_dns_name(name):
    """It is not ready until its startup probe succeeds, but its peers must connect to it before that."""
    run = labels(name)["app.kubernetes.io/instance"]
    assert of("Service", run)["spec"]["publishNotReadyAddresses"]


def is_well(probe, file):
    """Whether a probe succeeds for the task with this health file."""
    python, *command = probe["exec"]["command"]
    assert python == "python"
    environ = {health.VARIABLE: str(file)}
    done = subprocess.run(
        [sys.executable, *command], check=False, cwd=cluster.ROOT, env=environ, timeout=60
    )
    return done.returncode == 0


def trains(name, tmp_path, *flags):
    """The summary of a Job after its pods have finished; each pod has its own health file."""
    processes = [
        cluster.Process(
            [*cluster.TRAINER, *pod.args, *flags],
            {**pod.environ, health.VARIABLE: str(tmp_path / f"health-{index}")},
        )
        for index, pod in enumerate(pods.here(pods.of(JOBS[name]), tmp_path))
    ]
    for process in processes:
        with process:
            assert process.wait() == 0, process.said
    workdir = cli_parser.parse(pods.of(JOBS[name])[0].args).workdir
    return cluster.Run(tmp_path / "runs" / pathlib.PurePath(workdir).name).summary


def test_the_workers_of_an_indexed_job_train_and_their_probes_succeed(tmp_path):
    files = [tmp_path / "health-0", tmp_path / "health-1"]
    assert not any(is_well(probe, file) for probe in probes("muster-workers") for file in files)
    summary = trains("muster-workers", tmp_path, "--config.train.epochs=1")
    assert summary["strategy"] == "multi_worker" and summary["steps"] == 24
    for file in files:
        assert all(is_well(probe, file) for probe in probes("muster-workers"))
        now = time.time()
        os.utime(file, (now - 700, now - 700))
        assert not any(is_well(probe, file) for probe in probes("muster-workers"))


@pytest.mark.long  # The pods differ from those above in their names alone.
def test_the_nodes_of_a_trainjob_train(tmp_path):
    summary = trains(TRAINJOBS_JOB, tmp_path, "--config.train.epochs=1")
    assert summary["strategy"] == "multi_worker" and summary["steps"] == 24


@pytest.mark.long
def test_the_parameter_servers_of_an_indexed_job_train(tmp_path):
    summary = trains("muster-ps", tmp_path, "--config.train.epochs=1")
    assert summary["strategy"] == "parameter_server" and summary["steps"] == 24
    for index in range(JOBS["muster-ps"]["spec"]["completions"]):
        assert is_well(probes("muster-ps")[0], tmp_path / f"health-{index}")


@pytest.mark.long
def test_the_pods_of_a_sweep_run_its_trials(tmp_path):
    tasks = pods.of(JOBS[SWEEP])
    short = ["--max_trials=3", "--config.train.epochs=1"]
    files = [tmp_path / f"health-{index}" for index in range(len(tasks))]
    processes = [
        cluster.Process(
            [*cluster.TRAINER, *pod.args, *short], {**pod.environ, health.VARIABLE: str(file)}
        )
        for pod, file in zip(pods.here(tasks, tmp_path), files, strict=True)
    ]
    for process in processes:
        with process:
            assert process.wait() == 0, process.said
    assert all(is_well(probes(SWEEP)[1], file) for file in files)
    assert (tmp_path / "runs" / SWEEP / "best_config.json").exists()
