"""What does `python -m trainer report` do? It draws the page of one or several runs from their workdirs.

It computes nothing, so it needs neither the data nor a device, and also draws a run that was killed, or
that still trains.
"""

import contextlib
from pathlib import Path

from strategies.errors import EXIT_DONE
from trainer.cli.options import ReportOptions
from trainer.process import console
from trainer.reporting.report import page
from trainer.storage import locate

_NAME = "report.html"


def run(options: ReportOptions) -> int:
    """Prints where the page is; returns the exit code. Raises InputError."""
    with contextlib.ExitStack() as stack:
        opened = [locate.open_workdir(name).open_readonly() for name in options.words]
        workdirs = [stack.enter_context(one) for one in opened]
        path = Path(options.output or _NAME)
        if not options.output and len(workdirs) == 1 and "://" not in options.words[0]:
            path = workdirs[0].report
        page.write(workdirs, path)
    console.print_result(str(path))
    return EXIT_DONE
