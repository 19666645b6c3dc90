"""Does docker/cloud_tpu.sh resume after a lost TPU, copy the workdir back, and leave no TPU behind?

A script replaces gcloud. Its TPUs are folders with one folder per host, and its `trainer` adds a line to
the workdir and ends as the test specifies.
"""

import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.paths import ROOT

_SCRIPT = ROOT / "docker" / "cloud_tpu.sh"
_GCLOUD = """#!/bin/bash
echo "$*" >>"$CLOUD/log"
hosts=$CLOUD/tpu/0
[[ "$*" != *" --worker=all"* ]] || hosts=$CLOUD/tpu/*
case "$*" in
  *" create "*)
    [ ! -e "$CLOUD/no_quota" ] && mkdir "$CLOUD/tpu" && (cd "$CLOUD/tpu" && mkdir $HOSTS) ;;
  *" delete "*) rm -r "$CLOUD/tpu" ;;
  *" describe "*) echo ACTIVE ;;
  *" scp "*) for host in $hosts; do cp "${5/#n:/$host/}" "${6/#n:/$host/}" || exit; done ;;
  *" ssh "*) for host in $hosts; do (cd "$host" && bash -c "${!##--command=}") || exit; done ;;
esac
"""
_PYTHON = """#!/bin/bash
case "$*" in
  "-m venv venv") mkdir -p venv/bin && cp "$0" venv/bin/python ;;
  "-m trainer "*)
    echo "$PWD $TPU_NAME $TPU_LOAD_LIBRARY" >>"$CLOUD/ran"
    echo "$*" >>run/lines && read -r how <"$CLOUD/plan" && sed -i 1d "$CLOUD/plan"
    case $how in
      lost) rm -r "$CLOUD/tpu" && exit 1 ;;
      hang) touch "$CLOUD/hangs" && exec sleep 600 ;;
      *) exit "$how" ;;
    esac ;;
esac
"""
_GIT = """#!/bin/bash
tar -czf "${3#--output=}" -T /dev/null
"""
_RUN = "-m trainer --strategy=tpu --tpu=local --workdir=run --config=dense_100"


@pytest.fixture
def cloud(tmp_path):
    """A function that starts the script. `plan`: how each of its trainers ends."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, text in (("gcloud", _GCLOUD), ("python3", _PYTHON), ("git", _GIT)):
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    path = f"{bin_folder}:{os.environ['PATH']}"

    def start(*flags, plan=(), hosts="0"):
        (tmp_path / "plan").write_text("".join(f"{how}\n" for how in plan))
        named = ["--project=p", "--zone=z", "--name=n", f"--workdir={tmp_path / 'home'}"]
        command = [str(_SCRIPT), *named, *flags, "--", "--config=dense_100"]
        return subprocess.Popen(
            command, text=True,
            env={**os.environ, "PATH": path, "CLOUD": str(tmp_path), "HOSTS": hosts},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    return start


def _ended(process):
    output, errors = process.communicate(timeout=200)
    return process.returncode, output, errors


def _calls(folder, verb):
    return [line for line in (folder / "log").read_text().splitlines() if f" {verb} " in line]


def test_the_workdir_is_copied_back_and_the_tpu_deleted(cloud, tmp_path):
    assert _ended(cloud(plan=["0"])) == (0, "", "")
    assert (tmp_path / "home" / "lines").read_text() == f"{_RUN}\n"
    assert not (tmp_path / "tpu").exists()
    assert len(_calls(tmp_path, "create")) == len(_calls(tmp_path, "delete")) == 1


@pytest.mark.parametrize("flags", [["--spot"], ["--queued", "--spot"]])
def test_after_a_lost_tpu_or_a_resumable_end_the_run_resumes_on_another_tpu(cloud, tmp_path, flags):
    code, _, errors = _ended(cloud(*flags, plan=["75", "lost", "0"]))
    assert code == 0
    # Files that the lost TPU wrote after the last copy are lost with it.
    assert (tmp_path / "home" / "lines").read_text() == f"{_RUN}\n" * 2
    assert len(_calls(tmp_path, "create")) == 3
    assert not (tmp_path / "tpu").exists()
    assert "attempt 2 of 5 ended before the run was finished" in errors


def test_the_number_of_attempts_is_limited(cloud, tmp_path):
    code, _, errors = _ended(cloud("--attempts=2", plan=["75"] * 9))
    assert code == 75
    assert len(_calls(tmp_path, "create")) == 2
    assert not (tmp_path / "tpu").exists()


@pytest.mark.parametrize("code", [1, 2])
def test_a_run_that_cannot_resume_is_tried_once_and_copied_back(cloud, tmp_path, code):
    assert _ended(cloud(plan=[str(code), "0"]))[0] == code
    assert len(_calls(tmp_path, "create")) == 1
    assert (tmp_path / "home" / "lines").exists() and not (tmp_path / "tpu").exists()


def test_a_tpu_that_cannot_be_created_is_requested_once(cloud, tmp_path):
    (tmp_path / "no_quota").touch()
    code, _, errors = _ended(cloud())
    assert code == 1 and len(_calls(tmp_path, "create")) == 1
    assert "could not delete n; check whether it still exists" in errors


def test_sigterm_deletes_the_tpu_and_leaves_no_process(cloud, tmp_path):
    process = cloud("--collect_every_s=1", plan=["hang"])
    deadline = time.monotonic() + 60
    while not (tmp_path / "home" / "lines").exists():  # Copied while the trainer runs.
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    # This also waits for every process that still has its output open.
    assert _ended(process)[0] == 75
    assert not (tmp_path / "tpu").exists()


def test_on_several_hosts_the_trainer_is_installed_on_all_and_runs_on_the_first(cloud, tmp_path):
    process = cloud("--type=v4-32", "--attempts=1", plan=["75"], hosts="0 1 2 3")
    assert _ended(process)[0] == 75
    assert (tmp_path / "home" / "lines").read_text() == f"{_RUN}\n".replace("local", "n")
    assert (tmp_path / "ran").read_text() == f"{tmp_path}/tpu/0/app n 0\n"
    copied, *_ = _calls(tmp_path, "scp")
    installed, *_ = _calls(tmp_path, "ssh")
    assert "app.tar.gz --zone=z --project=p --worker=all" in copied
    assert "--worker=all --command=mkdir -p app/run && " in installed
    assert (tmp_path / "log").read_text().count("--worker=all") == 2
    assert '".[tpu,tpuname]"' in (tmp_path / "log").read_text()


def test_with_a_bucket_the_trainer_gets_its_address_and_no_workdir_is_copied(cloud, tmp_path):
    code, output, errors = _ended(cloud("--workdir=gs://bucket/a run", plan=["75", "0"]))
    assert (code, output) == (0, "") and "attempt 1 of 5" in errors
    assert not (tmp_path / "home").exists()
    # The trainer itself is copied.
    assert len(_calls(tmp_path, "create")) == len(_calls(tmp_path, "scp")) == 2
    log = (tmp_path / "log").read_text()
    assert "--workdir=gs://bucket/a\\ run --config=dense_100" in log
    assert log.count('".[tpu,gs]"') == 2 and "run.tar.gz" not in log


@pytest.mark.parametrize(
    "kind, image",
    [
        ("v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("v5litepod-16", "tpu-vm-tf-2.20.0-pod-pjrt"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-1", "v2-alpha-tpuv6e"),
        ("v6e-16", "tpu-vm-tf-2.20.0-pod-pjrt"),
        ("v3-8", "tpu-ubuntu2204-base"),
        ("v4-16", "tpu-vm-tf-2.20.0-pod-pjrt"),
    ],
)
def test_the_image_and_the_flags_depend_on_the_type(cloud, kind, image):
    code, output, errors = _ended(cloud("--dry_run", f"--type={kind}"))
    assert (code, errors) == (0, "")
    assert f"--accelerator-type={kind} --version={image} " in output
    is_slice = "-pod-" in image
    line = f"# {kind} has several hosts: installed on all of them, run on the first\n"
    assert output.startswith(line) == is_slice
    assert ("TPU_NAME=n TPU_LOAD_LIBRARY=0 ../venv/bin/python" in output) == is_slice
    assert (f"--tpu={'n' if is_slice else 'local'} --workdir=run " in output) is True


def test_a_dry_run_prints_that_a_bucket_needs_no_copies(cloud):
    code, output, errors = _ended(cloud("--dry_run", "--workdir=gs://b/r"))
    assert (code, errors) == (0, "")
    assert output.startswith(
        "# the trainer uses gs://b/r itself: nothing is copied from or to this machine\ngcloud "
    )
    assert output.count(" scp ") == 1 and "mkdir -p runs" not in output


def test_a_dry_run_prints_its_commands_and_runs_none(cloud, tmp_path):
    code, output, errors = _ended(cloud("--dry_run", "--type=v6e-8", "--spot"))
    assert (code, errors) == (0, "")
    assert not (tmp_path / "log").exists() and not (tmp_path / "home").exists()
    create, *_, delete = [line for line in output.splitlines() if line.startswith("gcloud")]
    assert (
        create.split()
        == (
            "gcloud compute tpus tpu-vm create n --zone=z --project=p --accelerator-type=v6e-8 --spot "
            "--version=v2-alpha-tpuv6e"
        ).split()
    )
    assert delete.strip() == "gcloud compute tpus tpu-vm delete n --zone=z --project=p --quiet"
    assert "MUSTER_TENSORFLOW=tensorflow-tpu" in output.replace("\\", "")
    assert 'pip install --quiet ".[tpu]"' in output.replace("\\", "")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--zone=z", "--name=n"], "`--project` must be given. Received: none."),
        (["--spt"],
         "unknown option, or no value. Received: --spt; the options are at the top of "
         "docker/cloud_tpu.sh."),
        (["--project=p", "--zone=z", "--name=n", "--type=tpu9-8"],
         "`--version` must be given for this type. Received: --type=tpu9-8."),
        (["--attempts=x"], "`--attempts` must be a whole number. Received: x."),
        (["--project=p", "--zone=z", "--name=n", "--", "--tpu=x"],
         "this script sets --tpu of the trainer. Received: --tpu=x; remove it after the --."),
    ],
)  # fmt: skip
def test_an_invalid_option_is_reported_before_anything_is_created(flags, message):
    done = subprocess.run(
        [_SCRIPT, *flags], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (2, f"cloud_tpu: error: {message}\n")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
def test_shellcheck_finds_nothing():
    done = subprocess.run(
        ["shellcheck", _SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
