"""Is a TPU that cannot be reached, or a use that needs other packages, reported in one line?"""

import socket
import time

import pytest

from tests.cluster import cluster
from tests.tpu import google_cloud
from trainer.config import load as config_load
from trainer.storage.workdir import Workdir

_NO_COMPILER = (
    "`--strategy=mirrored` needs the package tensorflow, as tensorflow-tpu compiles for TPUs alone. "
    "Received: tensorflow-tpu 2.20.0; give --tpu=local on a TPU VM, or install tensorflow in its place."
)
_NO_CHIP = "`--tpu` found no TPU chip on this machine's PCI bus. "
_EVALUATOR = {
    "TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}'
}


@pytest.fixture
def run(tmp_path):
    """The workdir of a run that has started."""
    Workdir(tmp_path).initialize(config_load.resolve("digits_dense", {}))
    return tmp_path


def _refused(*args, environ=None, code=2):
    """The error line, which is printed before TensorFlow could have been imported."""
    start = time.monotonic()
    with cluster.Process([*cluster.TRAINER, *args], environ) as process:
        assert process.wait() == code, process.said
    assert time.monotonic() - start < 4, process.said
    return process.error


def test_training_on_cpus_is_refused_with_the_packages_for_tpus(tmp_path):
    assert _refused(f"--workdir={tmp_path}") == _NO_COMPILER


def test_evaluating_and_an_evaluator_are_refused_too(run):
    assert _refused("evaluate", f"--workdir={run}") == _NO_COMPILER
    assert _refused(f"--workdir={run}", environ=_EVALUATOR) == _NO_COMPILER


def test_a_sweep_is_refused_too(tmp_path):
    assert _refused("tune", "--max_trials=2", f"--workdir={tmp_path}") == (
        "`tune` trains on CPUs and GPUs, by the package tensorflow. Received: tensorflow-tpu 2.20.0; run "
        "it where that is, or train each config separately on a TPU."
    )


@pytest.mark.parametrize(
    "args, environ",
    [
        (["--tpu=local"], {}),
        (["evaluate", "--tpu=local"], {}),
        (["evaluate", "--strategy=tpu"], {}),
        (["evaluate"], {"TPU_NAME": "local"}),
    ],
)
def test_a_machine_without_a_chip_is_refused_at_once(run, args, environ):
    assert _refused(*args, f"--workdir={run}", environ=environ).startswith(_NO_CHIP)


def test_another_strategy_overrides_the_environments_tpu(run):
    args = ["evaluate", "--strategy=mirrored", f"--workdir={run}"]
    assert _refused(*args, environ={"TPU_NAME": "local"}) == _NO_COMPILER


def test_a_named_tpu_is_found_by_googles_own_clients_and_connected_to_at_its_address(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # Bound and not listening, so no other process gets the port.
        end = {"ipAddress": "127.0.0.1", "port": closed.getsockname()[1]}
        with google_cloud.serving({"state": "READY", "networkEndpoints": [end]}) as environ:
            code, error, _ = _looked_up(tmp_path, environ)
    assert code == 2
    assert error.startswith(
        f"`--tpu` got no answer from grpc://127.0.0.1:{end['port']} ([Errno 111]"
    )


def test_a_preempted_tpu_ends_the_run_with_a_resumable_error(tmp_path):
    with google_cloud.serving({"state": "PREEMPTED"}) as environ:
        code, error, _ = _looked_up(tmp_path, environ)
    assert (code, error.partition(";")[0]) == (75, "the TPU 'pod-1' is PREEMPTED, not READY")


@pytest.mark.parametrize("silent_at", ["/computeMetadata", "/discovery", "/v1/"])
def test_a_server_of_google_cloud_that_does_not_answer_ends_the_wait_at_the_deadline(
    tmp_path, silent_at
):
    with google_cloud.serving({}, silent_at) as environ:
        code, error, seconds = _looked_up(tmp_path, environ, "--startup_timeout_s=2")
    assert code == 75 and 2 <= seconds < 120
    assert error.startswith(
        "`--tpu` names a TPU, but Google Cloud gave no answer within --startup_timeout_s=2 s. "
        "Received: 'pod-1'; check that "
    )


def _looked_up(folder, environ, *flags):
    """(exit code, error line, seconds) of a run on the TPU pod-1."""
    start = time.monotonic()
    args = [*cluster.TRAINER, "--tpu=pod-1", f"--workdir={folder}", *flags]
    with cluster.Process(args, environ) as training:
        code = training.wait()
    return code, training.error, time.monotonic() - start
