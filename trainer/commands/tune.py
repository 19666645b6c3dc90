"""What does `python -m trainer tune` do?

It searches a space for the best values, trial by trial. keras-tuner's oracles propose them, each trial
is a run of this trainer in a folder of its own, and what was decided is in a ledger, so the same command
goes on with a sweep that was stopped or killed. On several machines one task has the search, and the
others run its trials.
"""

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from strategies.devices import gpus
from strategies.errors import EXIT_DONE, EXIT_RESUME, InputError, Resumable
from strategies.network import shared_secret
from trainer.cli.options import TuneOptions
from trainer.cli.parser import parse
from trainer.process import console
from trainer.process.health import Health
from trainer.process.signals import StopRequest
from trainer.storage import locate
from trainer.storage.workdir import Workdir
from trainer.sweep import compiled, ended, trial_process
from trainer.sweep.assignment import Source
from trainer.sweep.machines.part import CLIENT, LEADER, SweepCluster
from trainer.sweep.plan import FREE, Plan
from trainer.sweep.runner import Runner
from trainer.sweep.search import Search
from trainer.sweep.slots import Slot, share
from trainer.sweep.trial import Limits, command
from trainer.task import fingerprint

_START_S = 60.0  # For a trial's process to say its first word, on a busy machine.


def run(options: TuneOptions) -> int:
    """Runs this process's part of the sweep to its end and returns its exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    cluster = SweepCluster.find(options.asked, os.environ)
    gpus.take_own_share(cluster.source)
    plan = Plan.of(options)
    key = shared_secret.read(options.secret_file)
    slots = _slots(options, cluster) if cluster.runs_trials else []
    stop = StopRequest()
    with _claimed(options, plan.base.name, cluster) as workdir, compiled.shared():
        if slots:
            trial_process.warm_up()
        if cluster.role == CLIENT:
            return _take_part(plan, cluster, key, workdir.path, slots, stop)
        search = plan.search_in(workdir.path)
        health = Health.from_env()
        with _shown(plan, search, workdir.path) as show:

            def look() -> None:
                show.look()
                health.note()

            stop.give_grace(options.grace_s + _START_S)
            run = functools.partial(_run, options, search, workdir.path, slots, stop, {})
            if cluster.hands_out:
                _serve(plan, cluster, key, search, show.say, look, stop, run)
            else:
                run(look)
        workdir.settle()
        return _conclude(options, search, workdir, stop)


def _slots(options: TuneOptions, cluster: SweepCluster) -> list[Slot]:
    return share(
        options.parallel_trials,
        sorted(os.sched_getaffinity(0)),
        gpus.visible(os.environ),
        options.workers_per_trial,
        cluster.name,
    )


@contextlib.contextmanager
def _claimed(options: TuneOptions, name: str, cluster: SweepCluster) -> Iterator[Workdir]:
    """The sweep's folder. It is one search's at a time; clients may share it with their chief.

    Of a bucket they use the folder on their own machine, which only the search brings in there.
    """
    default = f"runs/sweep-{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    workdir = locate.at(options.workdir or default)
    workdir.make()
    if cluster.role == CLIENT:
        yield workdir
        return
    with workdir.held(options.startup_timeout_s):
        if workdir.config.exists():
            raise InputError(
                f"`--workdir` holds a run, and not a sweep. Received: {workdir.name!r}; choose another "
                "folder."
            )
        yield workdir


def _shown(plan: Plan, search: Search, folder: pathlib.Path):
    from trainer.sweep.show import Show

    return Show(folder, search, plan.space.dimensions, plan.num_trials)


def _run(
    options: TuneOptions,
    source: Source,
    folder: pathlib.Path,
    slots: Sequence[Slot],
    stop: StopRequest,
    own: Mapping[str, str],
    on_look: Callable[[], None],
) -> None:
    train = parse(options.trainer_args)
    limits = Limits(
        options.max_restarts,
        options.max_trial_s,
        train.startup_timeout_s + _START_S,
        options.grace_s,
    )
    args = *options.trainer_args, *(f"--config.{name}={value}" for name, value in own.items())
    runner = Runner(source, folder / "trials", slots, args, limits, on_look)
    runner.run(lambda: stop.requested)


def _take_part(plan: Plan, cluster, key, folder, slots, stop) -> int:
    """A client's part, unless the sweep is over and nobody gives out trials any more."""
    try:
        return _run_as_client(plan, cluster, key, folder, slots, stop)
    except Resumable:
        if not ended.is_over(folder, plan.search_in):
            raise
        console.say(f"tune: the sweep in {folder} is over, so that nobody is missed")
        return EXIT_DONE


def _run_as_client(plan: Plan, cluster, key, folder, slots, stop) -> int:
    from trainer.sweep.machines.client import Client

    options = plan.options
    lost: list[Resumable] = []
    health = Health.from_env()

    def look() -> None:
        if lost:
            raise lost[0]
        health.note()

    carried = fingerprint.versions() | plan.asked
    timeouts = options.startup_timeout_s, options.peer_timeout_s
    with Client(cluster.name, cluster.address, carried, key, *timeouts, lost.append) as source:
        console.say(f"tune: {cluster}; its trials are in {folder}")
        stop.give_grace(options.grace_s + _START_S)
        # Where the data lies is each machine's own affair, and not the chief's.
        own = {name: text for name, text in options.overrides.items() if name in FREE}
        _run(options, source, folder, slots, stop, own, look)
    return EXIT_RESUME if stop.requested else EXIT_DONE


def _serve(plan: Plan, cluster, key, search, say, look, stop, run) -> None:
    from trainer.sweep.machines.chief import Chief
    from trainer.sweep.machines.leader import lead

    options = plan.options
    chief = Chief(
        search,
        cluster.address,
        options.bind,
        fingerprint.versions() | plan.asked,
        key,
        options.peer_timeout_s,
        lambda line: say(f"tune: {line}"),
        cluster.clients,
        options.startup_timeout_s,
    )
    if cluster.role == LEADER:
        lead(chief, run, look, lambda: stop.requested)
    else:
        chief.serve(options.startup_timeout_s, lambda: stop.requested, look)


def _conclude(options: TuneOptions, search: Search, workdir: Workdir, stop: StopRequest) -> int:
    again = "" if options.workdir else f" with --workdir={workdir}"
    if stop.requested and not search.is_over:
        console.say(f"tune: stopped; run the same command again{again} to go on")
        return EXIT_RESUME
    records, found = search.records(), search.best()
    if found is None:
        why = next((record.error for record in records if record.error), "there was none")
        raise InputError(f"no trial of {len(records)} came to its end; the first failed so: {why}")
    print(_how_to_run(search, found.id, workdir.path), flush=True)
    return EXIT_DONE


def _how_to_run(search: Search, trial_id: str, folder: pathlib.Path) -> str:
    _, flags = search.config(trial_id)
    args = command([f"--config={folder / 'best_config.json'}"], flags)
    return f"to train it again: python -m trainer {' '.join(args)}"
