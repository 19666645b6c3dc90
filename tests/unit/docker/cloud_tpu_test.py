"""Does docker/cloud_tpu.sh go on where a TPU is lost, bring the workdir home, and leave no TPU behind?

A program of the test's own stands in gcloud's place. Its TPUs are folders, with one for each host, and a
`trainer` on a host adds a line to its workdir and ends as the test says.
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
    """A function that starts the script with flags, and with how each trainer ends."""
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
    said, errors = process.communicate(timeout=60)
    return process.returncode, said, errors


def _calls(folder, verb):
    return [line for line in (folder / "log").read_text().splitlines() if f" {verb} " in line]


def test_a_run_is_brought_home_and_its_tpu_deleted(cloud, tmp_path):
    assert _ended(cloud(plan=["0"])) == (0, "", "")
    assert (tmp_path / "home" / "lines").read_text() == f"{_RUN}\n"
    assert not (tmp_path / "tpu").exists()
    assert len(_calls(tmp_path, "create")) == len(_calls(tmp_path, "delete")) == 1


@pytest.mark.parametrize("flags", [["--spot"], ["--queued", "--spot"]])
def test_a_lost_tpu_and_a_resumable_end_are_gone_on_from_on_another_tpu(cloud, tmp_path, flags):
    code, _, errors = _ended(cloud(*flags, plan=["75", "lost", "0"]))
    assert code == 0
    # What the lost one had written after it was collected last is lost with it.
    assert (tmp_path / "home" / "lines").read_text() == f"{_RUN}\n" * 2
    assert len(_calls(tmp_path, "create")) == 3
    assert not (tmp_path / "tpu").exists()
    assert "attempt 2 of 5 ended before the run did" in errors


def test_attempts_are_bounded(cloud, tmp_path):
    code, _, errors = _ended(cloud("--attempts=2", plan=["75"] * 9))
    assert code == 75
    assert len(_calls(tmp_path, "create")) == 2
    assert not (tmp_path / "tpu").exists()


@pytest.mark.parametrize("code", [1, 2])
def test_a_run_that_cannot_be_gone_on_with_is_tried_once_and_brought_home(cloud, tmp_path, code):
    assert _ended(cloud(plan=[str(code), "0"]))[0] == code
    assert len(_calls(tmp_path, "create")) == 1
    assert (tmp_path / "home" / "lines").exists() and not (tmp_path / "tpu").exists()


def test_a_tpu_that_cannot_be_had_at_all_is_asked_for_once(cloud, tmp_path):
    (tmp_path / "no_quota").touch()
    code, _, errors = _ended(cloud())
    assert code == 1 and len(_calls(tmp_path, "create")) == 1
    assert "could not delete n; look whether it is still there" in errors


def test_sigterm_deletes_the_tpu_and_leaves_no_process(cloud, tmp_path):
    process = cloud("--collect_every_s=1", plan=["hang"])
    deadline = time.monotonic() + 60
    while not (tmp_path / "home" / "lines").exists():  # Collected while it runs.
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert _ended(process)[0] == 75  # Which waits for the end of whoever holds its output.
    assert not (tmp_path / "tpu").exists()


def test_a_slice_of_hosts_has_the_program_on_all_and_runs_it_on_the_first_by_name(cloud, tmp_path):
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


def test_to_a_bucket_nothing_is_copied_from_here_and_the_trainer_is_told_of_it(cloud, tmp_path):
    code, said, errors = _ended(cloud("--workdir=gs://bucket/a run", plan=["75", "0"]))
    assert (code, said) == (0, "") and "attempt 1 of 5" in errors
    assert not (tmp_path / "home").exists()
    assert (
        len(_calls(tmp_path, "create")) == len(_calls(tmp_path, "scp")) == 2
    )  # The program's own.
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
def test_the_image_and_the_way_follow_from_the_type(cloud, kind, image):
    code, said, errors = _ended(cloud("--dry_run", f"--type={kind}"))
    assert (code, errors) == (0, "")
    assert f"--accelerator-type={kind} --version={image} " in said
    is_slice = "-pod-" in image
    told = f"# {kind} has several hosts: installed on all of them, run on the first\n"
    assert said.startswith(told) == is_slice
    assert ("TPU_NAME=n TPU_LOAD_LIBRARY=0 ../venv/bin/python" in said) == is_slice
    assert (f"--tpu={'n' if is_slice else 'local'} --workdir=run " in said) is True


def test_a_dry_run_tells_what_becomes_of_a_bucket(cloud):
    code, said, errors = _ended(cloud("--dry_run", "--workdir=gs://b/r"))
    assert (code, errors) == (0, "")
    assert said.startswith(
        "# the trainer keeps gs://b/r: nothing is copied from here or to here\ngcloud "
    )
    assert said.count(" scp ") == 1 and "mkdir -p runs" not in said


def test_a_dry_run_prints_its_commands_and_runs_none(cloud, tmp_path):
    code, said, errors = _ended(cloud("--dry_run", "--type=v6e-8", "--spot"))
    assert (code, errors) == (0, "")
    assert not (tmp_path / "log").exists() and not (tmp_path / "home").exists()
    create, *_, delete = [line for line in said.splitlines() if line.startswith("gcloud")]
    assert (
        create.split()
        == (
            "gcloud compute tpus tpu-vm create n --zone=z --project=p --accelerator-type=v6e-8 --spot "
            "--version=v2-alpha-tpuv6e"
        ).split()
    )
    assert delete.strip() == "gcloud compute tpus tpu-vm delete n --zone=z --project=p --quiet"
    assert "MUSTER_TENSORFLOW=tensorflow-tpu" in said.replace("\\", "")
    assert 'pip install --quiet ".[tpu]"' in said.replace("\\", "")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--zone=z", "--name=n"], "`--project` must be given. Received: none."),
        (["--spt"], "no such option, or no value. Received: --spt; its head tells what there is."),
        (["--project=p", "--zone=z", "--name=n", "--type=tpu9-8"],
         "`--version` must be given for such a type. Received: --type=tpu9-8."),
        (["--attempts=x"], "`--attempts` must be a whole number. Received: x."),
        (["--project=p", "--zone=z", "--name=n", "--", "--tpu=x"],
         "the trainer is given its own --tpu. Received: --tpu=x; leave it out, after the --."),
    ],
)  # fmt: skip
def test_a_slip_is_told_before_anything_is_made(flags, message):
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
