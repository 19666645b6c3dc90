"""What does `python -m trainer tune` do?

It searches a space for the best values, trial by trial. keras-tuner's oracles propose them, each trial
is a run of this trainer in a folder of its own, and what was decided is in a ledger, so the same command
goes on with a sweep that was stopped or killed. On several machines one task has the search, and the
others run its trials.
"""

import functools
import os
import pathlib

from strategies.devices import gpus
from strategies.errors import EXIT_DONE, EXIT_RESUME, InputError
from strategies.network import shared_secret
from trainer.cli.options import TuneOptions
from trainer.process import console
from trainer.process.health import Health
from trainer.process.signals import StopRequest
from trainer.storage.workdir import Workdir
from trainer.tune.distributed import serve, take_part
from trainer.tune.folder import claimed
from trainer.tune.local import START_S, own_slots, run_trials
from trainer.tune.machines.role import CLIENT, SweepCluster
from trainer.tune.search.search import Search
from trainer.tune.sweep import SweepSpec
from trainer.tune.trials import compile_cache
from trainer.tune.trials import process as trial_process
from trainer.tune.trials.trial import command


def run(options: TuneOptions) -> int:
    """Runs this process's part of the sweep to its end and returns its exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    cluster = SweepCluster.find(options.asked, os.environ)
    gpus.take_own_share(cluster.source)
    plan = SweepSpec.of(options)
    key = shared_secret.read(options.secret_file)
    slots = own_slots(options, cluster) if cluster.runs_trials else []
    stop = StopRequest()
    with claimed(options, plan.base.name, cluster) as workdir, compile_cache.shared():
        if slots:
            trial_process.warm_up()
        if cluster.role == CLIENT:
            return take_part(plan, cluster, key, workdir.path, slots, stop)
        search = plan.search_in(workdir.path)
        health = Health.from_env()
        with _shown(plan, search, workdir.path) as display:

            def look() -> None:
                display.refresh()
                health.note()

            stop.set_grace_period(options.grace_s + START_S)
            run = functools.partial(run_trials, options, search, workdir.path, slots, stop, {})
            if cluster.hands_out:
                serve(plan, cluster, key, search, display.print_line, look, stop, run)
            else:
                run(look)
        workdir.flush()
        return _conclude(options, search, workdir, stop)


def _shown(plan: SweepSpec, search: Search, folder: pathlib.Path):
    from trainer.tune.results.display import SweepDisplay

    return SweepDisplay(folder, search, plan.space.dimensions, plan.num_trials)


def _conclude(options: TuneOptions, search: Search, workdir: Workdir, stop: StopRequest) -> int:
    again = "" if options.workdir else f" with --workdir={workdir}"
    if stop.requested and not search.is_over:
        console.print_line(f"tune: stopped; run the same command again{again} to go on")
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
