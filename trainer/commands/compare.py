"""What does `python -m trainer compare` do?

It trains the variants of a config that `--vary` gives, and draws them side by side as one page. The runs
are trials of a sweep over the variants, so the same command resumes.
"""

import dataclasses
import functools
import pathlib
import shlex

from strategies.errors import EXIT_DONE, InputError
from trainer.cli.options import CompareOptions, TuneOptions
from trainer.commands import tune
from trainer.process import console
from trainer.storage.workdir import Workdir
from trainer.tune.comparison import NAME, Comparison
from trainer.tune.search.record import FAILED
from trainer.tune.search.search import Search
from trainer.tune.sweep import SweepSpec


def run(options: CompareOptions) -> int:
    """Runs this process's part and returns the exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    spec_of = functools.partial(Comparison.of, vary=options.vary, link=options.link)
    return tune.run_sweep(_as_sweep(options), spec_of, _display, _conclude, options.verb, "compare")


def _as_sweep(options: CompareOptions) -> TuneOptions:
    """The options of the sweep that tries each variant, in order.

    Its runs write reports, whose facts are on the page too.
    """
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    del given["vary"], given["link"]
    given["trainer_args"] = ("--report=true", *options.trainer_args)
    return TuneOptions(**given, tuner="grid")


def _display(spec: SweepSpec, search: Search, folder: pathlib.Path):
    # Imported here, as a client has no display.
    from trainer.tune.results.comparison import ComparisonDisplay

    assert isinstance(spec, Comparison)
    return ComparisonDisplay(folder, search, spec)


def _conclude(spec: SweepSpec, search: Search, workdir: Workdir) -> int:
    """Prints where the page is. Raises InputError where a variant has failed."""
    from trainer.tune.results.comparison import PAGE

    console.print_progress(f"the page: {shlex.quote(str(workdir.path / PAGE))}")
    for record in search.records():
        if record.status == FAILED:
            raise InputError(f"the variant {record.values[NAME]} failed: {record.error}")
    return EXIT_DONE
