#!/usr/bin/env bash
# Trains on a Cloud TPU: creates it, installs the trainer, runs it, copies the workdir, and deletes the TPU even
# after a failure.
#
#   docker/cloud_tpu.sh --project=P --zone=Z --name=N [options] [-- flags of `python -m trainer`]
#
#   --type=v5litepod-8     the accelerator type, from `gcloud compute tpus accelerator-types list`
#   --version=IMAGE        the image, from `gcloud compute tpus versions list`; default: depends on the type
#   --workdir=runs/NAME    a folder on this machine, which is copied to the TPU first, so that a run resumes.
#                          Or gs://BUCKET/NAME, which the trainer itself uses: nothing is copied
#   --spot                 cheaper, and may be preempted at any time: then another one is created, to resume
#   --queued               request it as a queued resource, and wait for it
#   --wait_s=3600          how long to wait for a queued resource
#   --attempts=5           the most TPUs to create, if one is lost or the run ends with exit code 75
#   --collect_every_s=120  how often the workdir is copied to this machine: the most that a loss costs
#   --dry_run              print the commands without running them
#
# A type with more than 8 cores (or chips, of v5litepod and v6e) is a slice of several hosts. Its image (with
# -pod in its name) has a TensorFlow server of the client's version on each host. The trainer is installed on
# all hosts and runs on the first one, which connects to the others by the name of the TPU.
#
# Needs gcloud and a git checkout: the committed files of this checkout are installed. It has not run on
# Google Cloud: its commands are from the public documentation, and its tests replace gcloud by a script.
set -euo pipefail
cd "$(dirname "$0")/.."

project='' zone='' name='' type=v5litepod-8 version='' workdir='' spot='' queued=''
wait_s=3600 attempts=5 collect_every_s=120 dry_run=''

refuse() {
  echo "cloud_tpu: error: $1" >&2
  exit 2
}

while [ $# -gt 0 ] && [ "$1" != -- ]; do
  key=${1%%=*} value=${1#*=}
  case "$1" in
    --wait_s=?* | --attempts=?* | --collect_every_s=?*)
      [[ $value =~ ^[1-9][0-9]*$ ]] || refuse "\`$key\` must be a whole number. Received: $value."
      printf -v "${key#--}" %s "$value" ;;
    --project=?* | --zone=?* | --name=?* | --type=?* | --version=?* | --workdir=?*)
      printf -v "${key#--}" %s "$value" ;;
    --spot | --queued | --dry_run) printf -v "${key#--}" %s yes ;;
    *) refuse "unknown option, or no value. Received: $1; the options are at the top of docker/cloud_tpu.sh." ;;
  esac
  shift
done
[ $# -eq 0 ] || shift
for needed in project zone name; do
  [ -n "${!needed}" ] || refuse "\`--$needed\` must be given. Received: none."
done
for flag in "$@"; do
  case "$flag" in --workdir* | --tpu* | --strategy* | --devices*)
    refuse "this script sets ${flag%%=*} of the trainer. Received: $flag; remove it after the --." ;;
  esac
done
workdir=${workdir:-runs/$name}
hosts='' remote='' extras=tpu
[[ ! $type =~ -([0-9]+)$ || ${BASH_REMATCH[1]} -le 8 ]] || hosts=several extras+=,tpuname
[[ $workdir != gs://* ]] || remote=yes extras+=,gs
if [ -z "$version" ]; then
  case "$hosts$type" in
    several*) version=tpu-vm-tf-2.20.0-pod-pjrt ;;
    v5lite*) version=v2-alpha-tpuv5-lite ;;
    v5p*) version=v2-alpha-tpuv5 ;;
    v6e*) version=v2-alpha-tpuv6e ;;
    v[234]-*) version=tpu-ubuntu2204-base ;;
    *) refuse "\`--version\` must be given for this type. Received: --type=$type." ;;
  esac
fi
place=("--zone=$zone" "--project=$project")
vm=(gcloud compute tpus tpu-vm)
queue=(gcloud compute tpus queued-resources)
temporary=$(mktemp -d)
trainer='' collector=''

run() {  # Runs a command, or prints it.
  if [ -n "$dry_run" ]; then printf '%q ' "$@" && echo; else "$@"; fi
}

on_tpu() { run "${vm[@]}" ssh "$name" "${place[@]}" "--worker=${2:-0}" "--command=$1"; }
to_tpu() { run "${vm[@]}" scp "$1" "$name:$2" "${place[@]}" "--worker=${3:-0}"; }
from_tpu() { run "${vm[@]}" scp "$name:$1" "$2" "${place[@]}" --worker=0; }

make_tpu() {
  local what=("--accelerator-type=$type" ${spot:+--spot})
  if [ -z "$queued" ]; then
    run "${vm[@]}" create "$name" "${place[@]}" "${what[@]}" "--version=$version"
    return
  fi
  run "${queue[@]}" create "$name" "${place[@]}" "${what[@]}" "--runtime-version=$version" \
    "--node-id=$name" "--valid-until-duration=${wait_s}s" || return
  local deadline=$((SECONDS + wait_s)) state=''
  while [ $SECONDS -lt $deadline ]; do
    state=$(run "${queue[@]}" describe "$name" "${place[@]}" '--format=value(state.state)')
    if [ -n "$dry_run" ]; then echo "$state" && return; fi
    case "$state" in
      ACTIVE) return ;;
      FAILED | SUSPENDED) break ;;
    esac
    sleep 15
  done
  echo "cloud_tpu: the queued TPU is $state" >&2
  return 1
}

delete_tpu() {
  if [ -n "$queued" ]; then
    run "${queue[@]}" delete "$name" "${place[@]}" --force --quiet  # The request and its TPU.
  else
    run "${vm[@]}" delete "$name" "${place[@]}" --quiet
  fi
}

install() {
  run git archive --format=tar.gz "--output=$temporary/app.tar.gz" HEAD || return
  to_tpu "$temporary/app.tar.gz" app.tar.gz all || return
  on_tpu 'mkdir -p app/run && tar -xzf app.tar.gz -C app && python3 -m venv venv && cd app &&
MUSTER_TENSORFLOW=tensorflow-tpu ../venv/bin/python -m pip install --quiet ".['"$extras"']"' all || return
  [ -d "$workdir" ] || return 0
  run tar -czf "$temporary/run.tar.gz" -C "$workdir" . || return
  to_tpu "$temporary/run.tar.gz" run.tar.gz && on_tpu 'tar -xzf run.tar.gz -C app/run'
}

collect() {  # The trainer itself copies its files to a bucket.
  [ -n "$remote" ] || copy_workdir
}

copy_workdir() {  # tar exits with 1 if files change: no checkpoint does, as it is renamed into place.
  on_tpu "tar -czf run.tar.gz --exclude=.lock --exclude='.building-*' -C app/run . || [ \$? = 1 ]" &&
    from_tpu run.tar.gz "$temporary/run.tar.gz" &&
    run rm -rf "$workdir.new" "$workdir.old" && run mkdir -p "$workdir.new" "$workdir" &&
    run tar -xzf "$temporary/run.tar.gz" -C "$workdir.new" &&
    run mv "$workdir" "$workdir.old" && run mv "$workdir.new" "$workdir" && run rm -rf "$workdir.old"
}

stop_jobs() {  # The jobs on this machine, with all their children.
  for job in $trainer $collector; do kill -- "-$job" 2>/dev/null || true; done
  trainer='' collector=''
}

train() {
  local flags='' which=local around='' there=run
  [ $# -eq 0 ] || printf -v flags ' %q' "$@"
  [ -z "$remote" ] || printf -v there %q "$workdir"
  if [ -n "$hosts" ]; then
    printf -v which %q "$name"
    around="TPU_NAME=$which TPU_LOAD_LIBRARY=0 "
  fi
  set -m  # Each job in its own process group.
  if [ -z "$dry_run$remote" ]; then
    while sleep "$collect_every_s"; do collect || true; done </dev/null >"$temporary/collect.log" 2>&1 &
    collector=$!
  fi
  on_tpu "cd app && { $around../venv/bin/python -m trainer --strategy=tpu --tpu=$which --workdir=$there$flags
echo \$? >exit_code; }" </dev/null &
  trainer=$!
  set +m
  wait "$trainer" || true
  stop_jobs
}

trainer_exit_code() {  # From a file on the TPU; empty if the TPU is lost.
  if [ -n "$dry_run" ]; then echo 0; else on_tpu 'cat app/exit_code' 2>/dev/null || true; fi
}

# shellcheck disable=SC2317  # Called by the trap.
clean_up() {
  local code=$?
  trap '' EXIT INT TERM
  stop_jobs
  delete_tpu || echo "cloud_tpu: could not delete $name; check whether it still exists" >&2
  rm -rf "$temporary"
  exit "$code"
}
trap clean_up EXIT
trap 'exit 75' INT TERM

if [ -n "$dry_run" ]; then
  [ -z "$hosts" ] || echo "# $type has several hosts: installed on all of them, run on the first"
  [ -z "$remote" ] || echo "# the trainer uses $workdir itself: nothing is copied from or to this machine"
fi
[ -n "$remote" ] || run mkdir -p "$(dirname "$workdir")"
if [ ! -d "$workdir" ] && [ -d "$workdir.old" ]; then  # Interrupted between two `mv` of copy_workdir.
  run mv "$workdir.old" "$workdir"
fi
for attempt in $(seq "$attempts"); do
  if make_tpu && install; then
    train "$@"
    code=$(trainer_exit_code)
    collected=yes && collect || collected=''
    if [ -n "$code" ] && [ "$code" != 75 ]; then
      [ -n "$collected" ] || echo "cloud_tpu: the workdir could not be copied to this machine" >&2
      [ -n "$collected" ] || [ "$code" != 0 ] || code=1
      exit "$code"
    fi
  elif [ "$attempt" = 1 ]; then
    exit 1  # A wrong name, type or zone, or no quota: another attempt would fail too.
  fi
  echo "cloud_tpu: attempt $attempt of $attempts ended before the run was finished" >&2
  [ "$attempt" = "$attempts" ] || delete_tpu || true
done
exit 75
