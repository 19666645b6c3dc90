"""What does `python -m trainer tune` do?

It searches a space for the best values, trial by trial. keras-tuner's oracles suggest them. Each trial is
a run of this trainer in its own folder. Every decision is in a ledger, so the same command resumes a
sweep that was stopped or killed. On several machines one task is the server, which owns the search, and
the others run its trials.
"""

import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from trainer.tune.results.display import SweepDisplay


def run(options: TuneOptions) -> int:
    """Runs this process's part of the sweep and returns the exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    return run_sweep(options, SweepSpec.from_options, _display, _conclude)


def run_sweep(
    options: TuneOptions,
    spec_of: Callable[[TuneOptions], SweepSpec],
    display_of: Callable[[SweepSpec, Search, pathlib.Path], "SweepDisplay"],
    conclude: Callable[[SweepSpec, Search, Workdir], int],
    verb: str = "tune",
    folder: str = "sweep",
) -> int:
    """As `run`, for any kind of sweep.

    Args:
      options: of the sweep.
      spec_of: makes its specification from them.
      display_of, conclude: show it, and what to do after it; they may raise InputError.
      verb: what the person typed.
      folder: the beginning of the name of a new folder.
    """
    cluster = SweepCluster.find(options.cluster_flags, os.environ)
    gpus.take_own_share(cluster.source)
    spec = spec_of(options)
    secured = security.find(options.security_flags)
    cache.find(parse_trainer_args(options.trainer_args).compile_cache)  # As every trial does.
    slots = local_slots(options, cluster)
    stop = StopRequest()
    with open_folder(options, f"{folder}-{spec.base.name}", cluster) as workdir:
        trials = LocalTrials(options, workdir.path, slots, stop)
        if cluster.role == CLIENT:
            return run_client(spec, cluster, secured, trials)
        search = spec.open_search(workdir.path)
        source = spec.source(search)
        with display_of(spec, search, workdir.path) as display:
            stop.set_grace_period(options.grace_s + STARTUP_S)
            on_poll = _on_poll(display.refresh)
            if cluster.is_server:
                run_server(spec, cluster, secured, source, trials, display.print_line, on_poll)
            else:
                trials.run(source, on_poll)
        workdir.flush()
        if stop.requested and not search.is_finished:
            flag = "" if options.workdir else f" with --workdir={workdir}"
            console.print_line(f"{verb}: stopped; run the same command again{flag} to resume")
            return EXIT_RESUME
        return conclude(spec, search, workdir)


def _display(spec: SweepSpec, search: Search, folder: pathlib.Path) -> "SweepDisplay":
    # Imported here, as a client has no display.
    from trainer.tune.results.display import SweepDisplay

    return SweepDisplay(folder, search, spec.space.dimensions, spec.num_trials)


def _on_poll(refresh: Callable[[], None]) -> Callable[[], None]:
    health = Health.from_env()

    def on_poll() -> None:
        refresh()
        health.record_progress()

    return on_poll


def _conclude(spec: SweepSpec, search: Search, workdir: Workdir) -> int:
    """Prints how to train the sweep's best config, and returns the exit code."""
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
