"""What does `python -m trainer` do?

It parses the command line, runs its verb, and exits with one error line and the verb's exit code.
Each verb imports TensorFlow itself if it needs it, after the flags have been checked.
"""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from strategies import tensorflow_import
from strategies.cluster import resolve
from strategies.devices import gpus
from strategies.errors import EXIT_BAD_INPUT, EXIT_FAULT, EXIT_RESUME, InputError, Resumable
from trainer.cli import options
from trainer.cli import parser as cli_parser
from trainer.cli.option_groups import ScreenOptions
from trainer.process import (
    console,
    event_stream,
    exit_record,
    guardian,
    machine_limits,
    shaped_link,
    signals,
)
from trainer.process.exit_record import ExitRecord
from trainer.reporting import screen


def _train(command: options.TrainOptions) -> int:
    shared = screen.set_up_task(command)
    cluster = resolve.find(command.cluster_flags)
    gpus.take_own_share(cluster.source)
    signals.block_signals()
    guarded = guardian.Guardian() if cluster.is_single_task else guardian.fork_child()
    signals.set_exit_printer(guarded.print_at_exit)
    from trainer.commands import train as train_command
    from trainer.process import log_format

    log_format.set_up()
    log_format.show_less(
        only_results=command.quiet,
        only_own=shared and not (command.verbose or cluster.is_leader or cluster.is_evaluator),
    )
    event_stream.follow_progress()
    return train_command.run(command, cluster, guarded)


def _evaluate(command: options.EvaluateOptions) -> int:
    from trainer.commands import evaluate as evaluate_command
    from trainer.process import log_format

    screen.set_up(command, None)
    log_format.set_up()
    log_format.show_less(only_results=command.quiet)
    return evaluate_command.evaluate_once(command)


def _export(command: options.ExportOptions) -> int:
    from trainer.commands import export
    from trainer.process import log_format

    log_format.set_up()
    return export.run(command)


def _predict(command: options.PredictOptions) -> int:
    from trainer.commands import predict
    from trainer.process import log_format

    log_format.set_up()
    return predict.run(command)


def _report(command: options.ReportOptions) -> int:
    from trainer.commands import report

    return report.run(command)


def _launch(command: options.LaunchOptions) -> int:
    from trainer.commands import launch as launch_command

    screen.set_up(command, 1)
    return launch_command.run(command, command.trainer_args)


def _tune(command: options.TuneOptions) -> int:
    signals.block_signals()
    from trainer.commands import tune

    screen.set_up(command, 1)
    return tune.run(command)


def _cross_validate(command: options.CrossValidateOptions) -> int:
    signals.block_signals()
    from trainer.commands import cross_validate

    screen.set_up(command, 1)
    return cross_validate.run(command)


def _compare(command: options.CompareOptions) -> int:
    if command.link:
        shaped_link.enter(command.link, sys.argv[1:], os.environ)
    signals.block_signals()
    from trainer.commands import compare

    screen.set_up(command, 1)
    return compare.run(command)


def _check(command: options.CheckOptions) -> int:
    from trainer.commands import check

    return check.run(command)


def _data(command: options.DataOptions) -> int:
    from trainer.commands import data
    from trainer.process import log_format

    screen.set_up(ScreenOptions(), 2)
    log_format.set_up()
    event_stream.follow_progress()
    return data.run(command)


def _plan(command: options.PlanOptions) -> int:
    from trainer.commands import plan
    from trainer.process import log_format

    screen.set_up(ScreenOptions(), 2)
    log_format.set_up()
    event_stream.follow_progress()
    return plan.run(command)


_VERBS: dict[str, Callable[[Any], int]] = {  # Each takes the options of its verb.
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
    "predict": _predict,
    "report": _report,
    "launch": _launch,
    "tune": _tune,
    "cross_validate": _cross_validate,
    "compare": _compare,
    "check": _check,
    "data": _data,
    "plan": _plan,
}


def main() -> None:
    """Runs the command line and exits with its exit code."""
    console.set_up()
    tensorflow_import.set_environ_defaults()
    exit_record.accept_request()
    try:
        command = cli_parser.parse(sys.argv[1:])
        machine_limits.check()
        record = ExitRecord(_VERBS[command.verb](command))
    except (Exception, KeyboardInterrupt) as error:
        record = _failure(error)
    _exit(record)


def _failure(error: BaseException) -> ExitRecord:
    """What this error ends the program with. It is printed here, too."""
    if isinstance(error, InputError | Resumable):
        task = error.task if isinstance(error, Resumable) else None
        record = ExitRecord(error.exit_code, " ".join(str(error).split()), task)
        for line in getattr(error, "__notes__", ()):  # The user's own lines of a traceback.
            console.print_line(line)
    elif isinstance(error, KeyboardInterrupt):
        record = ExitRecord(EXIT_RESUME, "stopped by Ctrl-C; run the same command again to resume")
    elif message := machine_limits.describe(error):
        record = ExitRecord(EXIT_BAD_INPUT, message)
    else:  # A fault of the program: its traceback is printed, and it must not hang either.
        console.print_line("".join(traceback.format_exception(error)).rstrip("\n"))
        return ExitRecord(EXIT_FAULT, traceback.format_exception_only(error)[-1].strip())
    console.print_line(console.error_line(record.message))
    return record


def _exit(record: ExitRecord) -> None:
    """Ends the process without the interpreter's and TensorFlow's shutdown.

    They can wait for servers that have stopped, and for a stream that nobody reads.
    """
    exit_record.write(record)
    console.finish()
    os._exit(record.exit_code)


if __name__ == "__main__":
    main()
