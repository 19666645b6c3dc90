"""Do the manifests' pods train, and can Kubernetes tell whether they come on?

They run as processes of this machine: their arguments and environment, other hosts.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from tests.cluster import cluster, pods
from tests.cluster.manifests import FOLDER, JOBS, SWEEP, TEMPLATES, labels, of
from trainer.cli import parser as cli_parser
from trainer.config import load as config_load
from trainer.process import health, watchdog


def health_file():
    """Where the image has its tasks tell that they come on."""
    (path,) = re.findall(rf"{health.VARIABLE}=(\S+)", (FOLDER.parent / "Dockerfile").read_text())
    return path


def probes(name):
    """The startup probe and the liveness probe of a Job's pods."""
    (container,) = TEMPLATES[name]["spec"]["containers"]
    return container["startupProbe"], container["livenessProbe"]


@pytest.mark.parametrize("name", JOBS)
def test_what_a_probe_reads_lies_where_a_pod_can_write(name):
    (container,) = TEMPLATES[name]["spec"]["containers"]
    folder = str(pathlib.PurePosixPath(health_file()).parent)
    (volume,) = [one["name"] for one in container["volumeMounts"] if one["mountPath"] == folder]
    assert "emptyDir" in {one["name"]: one for one in TEMPLATES[name]["spec"]["volumes"]}[volume]
    assert health.VARIABLE not in {one["name"] for one in container["env"]}  # The image's stands.


@pytest.mark.parametrize("name", JOBS)
def test_no_probe_ends_a_pod_that_would_end_itself(name):
    options = cli_parser.parse(pods.of(JOBS[name])[0].args)
    train = cli_parser.parse(options.trainer_args) if options.verb == "tune" else options
    startup, liveness = probes(name)
    assert startup["exec"] == liveness["exec"]
    *_, limit_s = liveness["exec"]["command"]
    assert float(limit_s) >= train.stall_timeout_s + watchdog.TIMER_DELAY_S + 30
    # Its data, its workdir, the others, and TensorFlow's servers.
    download_s = config_load.resolve(options.config, {}).data.download_timeout_s
    waits_s = download_s + 3 * options.startup_timeout_s
    assert startup["periodSeconds"] * startup["failureThreshold"] > waits_s
    # Python starts in a tenth of that, also where it has to wait for a processor.
    assert startup["timeoutSeconds"] >= 10 and liveness["timeoutSeconds"] >= 10


@pytest.mark.parametrize("name", JOBS)
def test_a_pod_that_has_not_begun_to_train_is_found_by_its_name(name):
    """It is not ready before its startup probe succeeds, and could not meet the others otherwise."""
    run = labels(name)["app.kubernetes.io/instance"]
    assert of("Service", run)["spec"]["publishNotReadyAddresses"]


def is_well(probe, file):
    """Whether a probe finds so of the task that has this health file."""
    python, *command = probe["exec"]["command"]
    assert python == "python"
    environ = {health.VARIABLE: str(file)}
    done = subprocess.run(
        [sys.executable, *command], check=False, cwd=cluster.ROOT, env=environ, timeout=60
    )
    return done.returncode == 0


def trains(name, tmp_path, *flags):
    """The summary of a Job whose pods ran to their end; each has the health file of its number."""
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
    return cluster.Run(tmp_path / "runs" / name).summary


def test_the_workers_of_an_indexed_job_train_and_their_probes_see_it(tmp_path):
    files = [tmp_path / "health-0", tmp_path / "health-1"]
    assert not any(is_well(probe, file) for probe in probes("muster-workers") for file in files)
    summary = trains("muster-workers", tmp_path, "--config.train.epochs=1")
    assert summary["strategy"] == "multi_worker" and summary["steps"] == 24
    for file in files:
        assert all(is_well(probe, file) for probe in probes("muster-workers"))
        now = time.time()
        os.utime(file, (now - 700, now - 700))
        assert not any(is_well(probe, file) for probe in probes("muster-workers"))


@pytest.mark.long
def test_the_parameter_servers_of_an_indexed_job_train(tmp_path):
    summary = trains("muster-ps", tmp_path, "--config.train.epochs=1")
    assert summary["strategy"] == "parameter_server" and summary["steps"] == 24
    for index in range(JOBS["muster-ps"]["spec"]["completions"]):
        assert is_well(probes("muster-ps")[0], tmp_path / f"health-{index}")


@pytest.mark.long
def test_the_pods_of_a_sweep_search(tmp_path):
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
