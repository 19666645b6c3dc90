"""Does `check` find everything that would stop `train`, and change nothing?"""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.paths import ROOT


def _check(cwd, *flags, tf_config=None):
    """(exit code, {part: (sign, first line)}, the whole output)"""
    named = {"TF_CONFIG", "TPU_NAME", "TPU_CONFIG", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS"}
    environ = {name: value for name, value in os.environ.items() if name not in named}
    environ |= {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    if tf_config is not None:
        environ["TF_CONFIG"] = tf_config
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "check", *flags], check=False, cwd=cwd, env=environ,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    parts = {line[6:15].strip(): (line[:5].strip(), line[16:]) for line in lines[:-1]}
    return done.returncode, parts, done.stdout


def _cluster(task="worker", index=0, **jobs):
    return json.dumps({"cluster": jobs, "task": {"type": task, "index": index}})


def test_a_single_machine_is_ready_and_nothing_is_written(tmp_path):
    flags = (f"--workdir={tmp_path / 'run'}", f"--compile_cache={tmp_path / 'cache'}")
    exit_code, parts, output = _check(tmp_path, "--devices=2", *flags)
    assert exit_code == 0
    versions = parts.pop("packages")
    description = parts.pop("data")
    assert parts == {
        "config": ("ok", "digits_dense: digits, adam, 20 epochs"),
        "cluster": ("ok", "single task, no cluster in TF_CONFIG"),
        "strategy": (
            "ok", "mirrored: TF_CONFIG names no cluster, so the devices here train together",
        ),
        "devices": ("ok", "CPU:0, CPU:0"),
        "compiled": ("ok", f"{tmp_path / 'cache'}: 0 programs, 0.0 MB"),
        "batches": ("ok", "64 examples per step = 2 x 32"),
        "workdir": ("ok", f"{tmp_path / 'run'}: would be created"),
        "peers": ("ok", "none: this is a single task"),
    }  # fmt: skip
    assert versions[0] == "ok" and "tensorflow 2." in versions[1]
    assert description[0] == "ok" and "1,797 real handwritten digits" in description[1]
    assert output.endswith("\n\nready: `train` would start\n")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_for_compiled_programs_that_others_can_write_to_is_wrong(tmp_path, monkeypatch):
    folder = tmp_path / "muster" / "xla"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    exit_code, parts, _ = _check(tmp_path, f"--compile_cache={folder}")
    assert exit_code == 2 and parts["compiled"][0] == "WRONG"
    assert f"Received: {str(folder)!r}; others can write to {folder}" in parts["compiled"][1]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # The default is not worth an error.
    exit_code, parts, _ = _check(tmp_path)
    warning = f"warning: off: others can write to {folder}; `chmod go-w` it"
    assert exit_code == 0 and parts["compiled"] == ("ok", warning)


def test_public_addresses_and_a_missing_secret_are_reported(tmp_path):
    workers = ["127.0.0.1:21001", "1.1.1.1:2222"]
    _, _, output = _check(tmp_path, tf_config=_cluster(worker=workers))
    assert "no shared secret: anyone who can connect to them can take part" in output
    assert "warning: public addresses: worker 1 (1.1.1.1); the tasks' messages" in output
    flags = ("--transport=tensorflow", f"--secret_file={tmp_path / 'none'}")
    exit_code, parts, output = _check(tmp_path, *flags, tf_config=_cluster(worker=workers))
    assert exit_code == 2 and parts["peers"][0] == "WRONG"
    assert "`--secret_file` must name a file that can be read" in output
    (tmp_path / "secret").write_text("0123456789abcdef")
    flags = ("--transport=tensorflow", f"--secret_file={tmp_path / 'secret'}")
    _, _, output = _check(tmp_path, *flags, tf_config=_cluster(worker=workers))
    assert "a shared secret authenticates them, and TLS 1.3 encrypts all that they send" in output
    assert "TensorFlow's own connections are not secured (SECURITY.md)" in output
    assert "TensorFlow's servers execute whatever anyone who reaches them sends" in output


def test_a_batch_that_does_not_divide_is_wrong_and_a_fix_is_printed(tmp_path):
    exit_code, parts, output = _check(tmp_path, "--devices=5")
    assert exit_code == 2
    assert parts["batches"] == (
        "WRONG",
        "`data.global_batch_size` must divide evenly among replicas. Received: 64 for 5 replicas; "
        "try 60 or 65, or --config.train.reduction_blocks=8.",
    )
    assert [name for name, (sign, _) in parts.items() if sign != "ok"] == ["batches"]
    assert output.endswith("\n\n1 wrong: fix it first\n")


def test_one_run_finds_every_mistake_and_marks_what_it_could_not_check(tmp_path):
    exit_code, parts, output = _check(tmp_path, "--config=digit_dense", tf_config="{")
    assert exit_code == 2
    assert {name: sign for name, (sign, _) in parts.items()} == {
        "config": "WRONG", "cluster": "WRONG", "strategy": "?", "devices": "?", "compiled": "?",
        "batches": "?", "data": "?", "workdir": "?", "peers": "?", "packages": "ok",
    }  # fmt: skip
    assert "did you mean digits_dense?" in parts["config"][1]
    assert parts["cluster"][1].startswith("TF_CONFIG: must be JSON, but ")
    assert parts["data"][1] == "unknown while `config` is wrong"
    assert parts["batches"][1] == "unknown while `config` is wrong"
    assert parts["peers"][1] == "unknown while `cluster` is wrong"
    assert output.endswith("\n\n2 wrong: fix them first\n")


def test_each_peer_is_listed_with_whether_it_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(
            ("127.0.0.1", 0)
        )  # Bound but not listening, so that no other process takes the port.
        here, answering, refusing = (
            "127.0.0.1:1",
            f"127.0.0.1:{server.getsockname()[1]}",
            f"127.0.0.1:{closed.getsockname()[1]}",
        )
        cluster = _cluster(worker=[here, answering, refusing])
        exit_code, parts, output = _check(
            tmp_path, "--config.data.global_batch_size=66", tf_config=cluster
        )
    assert exit_code == 0
    assert parts["strategy"] == (
        "ok",
        "multi_worker: TF_CONFIG has 3 tasks that train and no `ps`, so they add their gradients "
        "every step",
    )
    assert parts["batches"] == ("ok", "66 examples per step = 3 x 22")
    silent = (
        "no answer within 2 s (not started yet, or not reachable)"  # It only accepts connections.
    )
    assert parts["peers"] == ("ok", f"worker 1 at {answering}: {silent}")
    assert f"worker 2 at {refusing}: refused (not started yet, or not reachable)\n" in output
    assert "worker 0 at 127.0.0.1:1  (this process)\n" in output


def test_a_parameter_server_cluster_is_described_as_its_tasks_see_it(tmp_path):
    jobs = {"chief": ["127.0.0.1:1"], "worker": ["127.0.0.1:2", "127.0.0.1:3"]}
    cluster = _cluster("ps", 0, **jobs, ps=["127.0.0.1:4"])
    exit_code, parts, _ = _check(tmp_path, tf_config=cluster)
    assert exit_code == 0
    assert parts["cluster"] == ("ok", "ps 0 in a cluster of 1 chief, 2 workers and 1 ps")
    assert parts["strategy"][1].startswith("parameter_server: TF_CONFIG has a `ps` job, so ")
    assert parts["devices"] == ("ok", "the devices that TensorFlow's server finds")
    assert parts["batches"] == ("ok", "64 examples per step, each step on one of 2 workers")


@pytest.mark.parametrize(
    "flags, part, message",
    [
        (["--strategy=parameter_server"], "strategy",
         "`--strategy=parameter_server` contradicts TF_CONFIG, which asks for mirrored: "),
        (["--tpu=local"], "devices", "`--tpu` needs the package tensorflow-tpu, "),
        (["--tpu=local", "--devices=2"], "devices", "`--devices` is for GPUs and the CPU; a TPU "),
        (["--config.sync.mode=async"], "strategy",
         "`sync.mode` must be auto, gradients, parameters, dynamic or federated with mirrored. Received: "
         "'async'; "),
        (["--config.data.train_examples=5000"], "data",
         "`data.train_examples` must be 0 (all) to 1497 for digits. Received: 5000."),
        (["--config.data.global_batch_size=2147483647"], "batches",
         "`data.global_batch_size` needs at least 6,272.0 GiB of memory for each replica's features"),
        (["--workdir=file"], "workdir", "`--workdir` cannot be written (a file is there). "),
        (["--workdir=" + "x" * 300], "workdir", "`--workdir` cannot be written (File name too "),
        (["--workdir=taken"], "workdir",
         "`--workdir` was begun with another config: `train.seed` was 3. Received: 0 for 'taken'; "),
    ],
)  # fmt: skip
def test_one_mistake_makes_only_its_part_wrong(tmp_path, flags, part, message):
    from trainer.config import load as config_load
    from trainer.storage.workdir import Workdir

    (tmp_path / "file").write_text("mine")
    Workdir(tmp_path / "taken").initialize(config_load.resolve("digits_dense", {"train.seed": "3"}))
    exit_code, parts, _ = _check(tmp_path, *flags)
    assert exit_code == 2
    assert parts[part][0] == "WRONG" and parts[part][1].startswith(message)
    assert [name for name, (sign, _) in parts.items() if sign == "WRONG"] == [part]


def test_two_cpu_replicas_per_worker_are_wrong_with_the_tensorflow_transport(tmp_path):
    cluster = _cluster(worker=["127.0.0.1:1", "127.0.0.1:2"])
    flags = ("--devices=2", "--transport=tensorflow")
    exit_code, parts, _ = _check(tmp_path, *flags, tf_config=cluster)
    assert exit_code == 2
    assert parts["devices"][0] == "WRONG"
    assert parts["devices"][1].startswith(
        "`--devices` must be 1 where several workers train on CPUs through TensorFlow, "
    )


@pytest.mark.parametrize(
    "topology, message",
    [
        ("v5e", "`--tpu_topology` must be a kind (v4, v5e, v5p or v6e) and its chips, as in v5e:2x4 or "
         'v4:2x2x1. Received: "v5e"; correct it.'),
        ("v7:2x4", "`--tpu_topology` must be a kind (v4, v5e, v5p or v6e) and its chips, as in v5e:2x4 "
         'or v4:2x2x1. Received: "v7:2x4"; correct it.'),
        ("v5e:2x4", "`--tpu_topology` needs the packages tensorflow-tpu, jax, libtpu. Received: a "
         "Python without tensorflow-tpu, "),
    ],
)  # fmt: skip
def test_with_a_topology_only_the_tpu_is_checked_and_not_this_machine(tmp_path, topology, message):
    exit_code, parts, _ = _check(tmp_path, f"--tpu_topology={topology}")
    assert exit_code == 2
    assert list(parts) == ["config", "data", "tpu", "packages"]
    assert parts["tpu"][0] == "WRONG" and parts["tpu"][1].startswith(message)


def test_weights_to_start_with_and_frozen_layers_are_compared_with_the_model(tmp_path):
    flags = ("--config.model.initial_weights=nowhere", "--config.model.frozen_layers=hidden_1")
    exit_code, parts, _ = _check(tmp_path, *flags)
    sign, found = parts["weights"]
    assert (exit_code, sign) == (2, "WRONG")
    assert found.startswith("`model.initial_weights` must hold weights that can be read. Received")
