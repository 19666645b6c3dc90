"""Does docker/cloud_tpu.sh go on where a TPU is lost, bring the workdir home, and leave no TPU behind?

A program of the test's own stands in gcloud's place. Its TPUs are folders, and a `trainer` on them adds a
line to its workdir and ends as the test says.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "cloud_tpu.sh"
_GCLOUD = """#!/bin/bash
echo "$*" >>"$CLOUD/log"
case "$*" in
  *" create "*) [ ! -e "$CLOUD/no_quota" ] && mkdir "$CLOUD/tpu" ;;
  *" delete "*) rm -r "$CLOUD/tpu" ;;
  *" describe "*) echo ACTIVE ;;
  *" scp "*) cp "${5/#n:/$CLOUD/tpu/}" "${6/#n:/$CLOUD/tpu/}" ;;
  *" ssh "*) cd "$CLOUD/tpu" && exec bash -c "${!##--command=}" ;;
esac
"""
_PYTHON = """#!/bin/bash
case "$*" in
  "-m venv venv") mkdir -p venv/bin && cp "$0" venv/bin/python ;;
  "-m trainer "*)
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

    def start(*flags, plan=()):
        (tmp_path / "plan").write_text("".join(f"{how}\n" for how in plan))
        named = ["--project=p", "--zone=z", "--name=n", f"--workdir={tmp_path / 'home'}"]
        command = [str(_SCRIPT), *named, *flags, "--", "--config=dense_100"]
        return subprocess.Popen(
            command, env={**os.environ, "PATH": path, "CLOUD": str(tmp_path)}, text=True,
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


def test_a_dry_run_prints_its_commands_and_runs_none(cloud, tmp_path):
    code, said, errors = _ended(cloud("--dry_run", "--type=v6e-8", "--spot"))
    assert (code, errors) == (0, "")
    assert not (tmp_path / "log").exists() and not (tmp_path / "home").exists()
    create, *_, delete = [line for line in said.splitlines() if line.startswith("gcloud")]
    assert (
        create.split()
        == (
            "gcloud compute tpus tpu-vm create n --zone=z --project=p --accelerator-type=v6e-8 --spot "
            "--version=v2-alpha-tpuv5-lite"
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
