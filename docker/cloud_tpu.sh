#!/usr/bin/env bash
# Trains on a Cloud TPU: makes one, installs, runs, collects the workdir, deletes it, whatever happens.
#
#   docker/cloud_tpu.sh --project=P --zone=Z --name=N [options] [-- flags of `python -m trainer`]
#
#   --type=v5litepod-8     what to make, as `gcloud compute tpus accelerator-types list` names it
#   --version=IMAGE        its image, as `gcloud compute tpus versions list` names it; default: by the type
#   --workdir=runs/NAME    here; what it holds goes along, so that a run goes on. Or gs://BUCKET/NAME, which
#                          the trainer itself keeps up to date and goes on from: nothing is copied here
#   --spot                 cheaper, and may be taken away at any time: then another is made, to go on
#   --queued               ask for it as a queued resource, and wait for it
#   --wait_s=3600          how long to wait for a queued one
#   --attempts=5           TPUs to make at most, where one is lost or the run ends with exit code 75
#   --collect_every_s=120  how often the workdir is copied here meanwhile: what a loss costs at most
#   --dry_run              print the commands and run none of them
#
# A type of more than 8 (cores, or chips of v5litepod and v6e) is a slice of several hosts. Its image has a
# TensorFlow server on each, of the client's own version (a -pod image); the program is installed on all
# hosts and runs on the first, which reaches the others by the TPU's name.
#
# Needs gcloud, and the checkout it lies in, of which it installs what is committed. It has never met Google
# Cloud: its commands are from the public documents, and its tests put a program of their own in gcloud's
# place.
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
    *) refuse "no such option, or no value. Received: $1; its head tells what there is." ;;
  esac
  shift
done
[ $# -eq 0 ] || shift
for needed in project zone name; do
  [ -n "${!needed}" ] || refuse "\`--$needed\` must be given. Received: none."
done
for flag in "$@"; do
  case "$flag" in --workdir* | --tpu* | --strategy* | --devices*)
    refuse "the trainer is given its own ${flag%%=*}. Received: $flag; leave it out, after the --." ;;
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
    *) refuse "\`--version\` must be given for such a type. Received: --type=$type." ;;
  esac
fi
place=("--zone=$zone" "--project=$project")
vm=(gcloud compute tpus tpu-vm)
queue=(gcloud compute tpus queued-resources)
scratch=$(mktemp -d)
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
  run git archive --format=tar.gz "--output=$scratch/app.tar.gz" HEAD || return
  to_tpu "$scratch/app.tar.gz" app.tar.gz all || return
  on_tpu 'mkdir -p app/run && tar -xzf app.tar.gz -C app && python3 -m venv venv && cd app &&
MUSTER_TENSORFLOW=tensorflow-tpu ../venv/bin/python -m pip install --quiet ".['"$extras"']"' all || return
  [ -d "$workdir" ] || return 0
  run tar -czf "$scratch/run.tar.gz" -C "$workdir" . || return
  to_tpu "$scratch/run.tar.gz" run.tar.gz && on_tpu 'tar -xzf run.tar.gz -C app/run'
}

collect() {  # To a bucket the trainer does so itself.
  [ -n "$remote" ] || bring_home
}

bring_home() {  # Changed files make tar end with 1: a checkpoint is whole, as it is renamed into place.
  on_tpu "tar -czf run.tar.gz --exclude=.lock --exclude='.building-*' -C app/run . || [ \$? = 1 ]" &&
    from_tpu run.tar.gz "$scratch/run.tar.gz" &&
    run rm -rf "$workdir.new" "$workdir.old" && run mkdir -p "$workdir.new" "$workdir" &&
    run tar -xzf "$scratch/run.tar.gz" -C "$workdir.new" &&
    run mv "$workdir" "$workdir.old" && run mv "$workdir.new" "$workdir" && run rm -rf "$workdir.old"
}

end_ours() {  # What still runs here, with all that it has started.
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
  set -m  # Each in a process group of its own.
  if [ -z "$dry_run$remote" ]; then
    while sleep "$collect_every_s"; do collect || true; done </dev/null >"$scratch/collect.log" 2>&1 &
    collector=$!
  fi
  on_tpu "cd app && { $around../venv/bin/python -m trainer --strategy=tpu --tpu=$which --workdir=$there$flags
echo \$? >exit_code; }" </dev/null &
  trainer=$!
  set +m
  wait "$trainer" || true
  end_ours
}

exit_code_there() {  # The trainer's, as told by the TPU itself; nothing where that is lost.
  if [ -n "$dry_run" ]; then echo 0; else on_tpu 'cat app/exit_code' 2>/dev/null || true; fi
}

# shellcheck disable=SC2317  # Called by the trap.
leave() {
  local code=$?
  trap '' EXIT INT TERM
  end_ours
  delete_tpu || echo "cloud_tpu: could not delete $name; look whether it is still there" >&2
  rm -rf "$scratch"
  exit "$code"
}
trap leave EXIT
trap 'exit 75' INT TERM

if [ -n "$dry_run" ]; then
  [ -z "$hosts" ] || echo "# $type has several hosts: installed on all of them, run on the first"
  [ -z "$remote" ] || echo "# the trainer keeps $workdir: nothing is copied from here or to here"
fi
[ -n "$remote" ] || run mkdir -p "$(dirname "$workdir")"
if [ ! -d "$workdir" ] && [ -d "$workdir.old" ]; then  # It ended between the two moves of `collect`.
  run mv "$workdir.old" "$workdir"
fi
for attempt in $(seq "$attempts"); do
  if make_tpu && install; then
    train "$@"
    code=$(exit_code_there)
    collected=yes && collect || collected=''
    if [ -n "$code" ] && [ "$code" != 75 ]; then
      [ -n "$collected" ] || echo "cloud_tpu: the workdir could not be copied here" >&2
      [ -n "$collected" ] || [ "$code" != 0 ] || code=1
      exit "$code"
    fi
  elif [ "$attempt" = 1 ]; then
    exit 1  # A wrong name, type or zone, or no quota: no other TPU would come of it.
  fi
  echo "cloud_tpu: attempt $attempt of $attempts ended before the run did" >&2
  [ "$attempt" = "$attempts" ] || delete_tpu || true
done
exit 75
