"""What does a verb print, and where? Plain lines, a live view, events for programs, or hardly anything.

`set_up` chooses by the flags and by where the output goes. Call it before there are threads, and before
`log_format.set_up`.
"""

import os

from trainer.cli.option_groups import ScreenOptions
from trainer.process import console, event_stream
from trainer.reporting import live

_LEVEL, _WARNINGS = "TF_CPP_MIN_LOG_LEVEL", "1"  # Of TensorFlow's native code; 0 shows all.


def set_up(options: ScreenOptions, number: int | None) -> None:
    """Sets this process's screen up. `number`: the stream that people follow, 1 (stdout) or 2 (stderr);
    None: it has no live view."""
    if options.verbose:
        level = os.environ.get(_LEVEL, _WARNINGS)
        os.environ[_LEVEL] = min(level, _WARNINGS)
    if options.quiet:
        console.set_quiet()
    if options.json:
        # Whatever else is printed is for people.
        event_stream.start(1)
        os.dup2(2, 1)
    elif number and not (options.quiet or options.verbose) and live.is_possible(number):
        live.start(number)


def set_up_task(options: ScreenOptions) -> bool:
    """The same for a task of a cluster. True if it shares a screen with others, under `launch`."""
    requested = event_stream.requested()
    if requested == event_stream.EVENTS:
        event_stream.start(2, event_stream.MARK)
    else:
        set_up(options, 2)
    return bool(requested)
