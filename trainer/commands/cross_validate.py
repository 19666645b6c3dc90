"""What does `python -m trainer cross_validate` do?

It trains a config once for each fold of its training examples, each time on all others, tests on that
fold, and shows mean and spread. The runs are trials of a sweep over `data.fold`, so the same command
resumes.
"""

import dataclasses
import pathlib
import shlex

from strategies.errors import EXIT_DONE
from trainer.cli.options import CrossValidateOptions, TuneOptions
from trainer.commands import tune
from trainer.process import console
from trainer.storage.workdir import Workdir
from trainer.tune.search.search import Search
from trainer.tune.sweep import SweepSpec


def run(options: CrossValidateOptions) -> int:
    """Runs this process's part and returns the exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    return tune.run_sweep(
        as_sweep(options), SweepSpec.of_folds, _display, _conclude, options.verb, "folds"
    )


def as_sweep(options: CrossValidateOptions) -> TuneOptions:
    """The options of the sweep that tries each fold, in order."""
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    return TuneOptions(**given, tuner="grid")


def _display(spec: SweepSpec, search: Search, folder: pathlib.Path):
    # Imported here, as a client has no display.
    from trainer.tune.results.folds import FoldsDisplay

    return FoldsDisplay(folder, search, spec.space.dimensions, spec.num_trials)


def _conclude(spec: SweepSpec, search: Search, workdir: Workdir) -> int:
    """Prints where the figures are. Raises InputError where a fold has failed."""
    from trainer.tune.results import folds

    folds.check(search.records())
    console.print_progress(f"the figures: {shlex.quote(str(workdir.path / folds.RESULT))}")
    return EXIT_DONE
