"""What does `python -m trainer tune` do?

It searches a space for the best values, trial by trial. keras-tuner's oracles suggest them. Each trial is
a run of this trainer in its own folder. Every decision is in a ledger, so the same command resumes a
sweep that was stopped or killed. On several machines one task is the server, which owns the search, and
the others run its trials.
"""

import os
import pathlib
from collections.abc import Callable

from strategies.devices import gpus
from strategies.devices.compile_cache import cache
from strategies.errors import EXIT_DONE, EXIT_RESUME, InputError
from strategies.network import security
from trainer.cli.options import TuneOptions
from trainer.cli.parser import parse_trainer_args
from trainer.process import console
from trainer.process.health import Health
from trainer.process.signals import StopRequest
from trainer.storage.workdir import Workdir
from trainer.tune.distributed import run_client, run_server
from trainer.tune.folder import open_folder
from trainer.tune.local import STARTUP_S, LocalTrials, local_slots
from trainer.tune.machines.role import CLIENT, SweepCluster
from trainer.tune.search.search import Search
from trainer.tune.sweep import SweepSpec
from trainer.tune.trials.trial import command


def run(options: TuneOptions) -> int:
    """Runs this process's part of the sweep and returns the exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    cluster = SweepCluster.find(options.cluster_flags, os.environ)
    gpus.take_own_share(cluster.source)
    spec = SweepSpec.from_options(options)
    secured = security.find(options.security_flags)
    cache.find(parse_trainer_args(options.trainer_args).compile_cache)  # As every trial does.
    slots = local_slots(options, cluster)
    stop = StopRequest()
    with open_folder(options, spec.base.name, cluster) as workdir:
        trials = LocalTrials(options, workdir.path, slots, stop)
        if cluster.role == CLIENT:
            return run_client(spec, cluster, secured, trials)
        search = spec.open_search(workdir.path)
        with _display(spec, search, workdir.path) as display:
            stop.set_grace_period(options.grace_s + STARTUP_S)
            on_poll = _on_poll(display.refresh)
            if cluster.is_server:
                run_server(spec, cluster, secured, search, trials, display.print_line, on_poll)
            else:
                trials.run(search, on_poll)
        workdir.flush()
        return _conclude(options, search, workdir, stop)


def _display(spec: SweepSpec, search: Search, folder: pathlib.Path):
    # Imported here, as a client has no display.
    from trainer.tune.results.display import SweepDisplay

    return SweepDisplay(folder, search, spec.space.dimensions, spec.num_trials)


def _on_poll(refresh: Callable[[], None]) -> Callable[[], None]:
    health = Health.from_env()

    def on_poll() -> None:
        refresh()
        health.record_progress()

    return on_poll


def _conclude(options: TuneOptions, search: Search, workdir: Workdir, stop: StopRequest) -> int:
    """Prints how to resume the sweep, or how to train its best config, and returns the exit code."""
    if stop.requested and not search.is_finished:
        flag = "" if options.workdir else f" with --workdir={workdir}"
        console.print_line(f"tune: stopped; run the same command again{flag} to resume")
        return EXIT_RESUME
    best = search.best()
    if best is None:
        errors = [record.error for record in search.records() if record.error]
        reason = f"the first error was: {errors[0]}" if errors else "there was no trial"
        raise InputError(f"none of {len(search.records())} trials completed; {reason}")
    _, flags = search.config(best.id)
    args = command([f"--config={workdir.path / 'best_config.json'}"], flags)
    again = f"to train the best config again: python -m trainer {' '.join(args)}"
    console.print_progress(again)
    return EXIT_DONE
