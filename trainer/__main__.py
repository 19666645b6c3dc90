"""What does `python -m trainer` do?

It parses the command line, runs the verb, and exits with its exit code. A verb that needs TensorFlow
imports it after the flags are checked.
"""

import os
import re
import sys
import traceback

# Before TensorFlow is imported, whose own messages would bury the lines of the run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from strategies.cluster import resolve
from strategies.devices import gpus
from strategies.errors import EXIT_BAD_INPUT, EXIT_FAULT, EXIT_RESUME, InputError, Resumable
from trainer.cli import options
from trainer.cli import parser as cli_parser
from trainer.process import console, guardian, signals


def _train(command: options.TrainOptions) -> int:
    cluster = resolve.find(command.cluster_flags)
    gpus.take_own_share(cluster.source)
    signals.block_signals()
    guarded = guardian.Guardian() if cluster.is_alone else guardian.split_off()
    signals.speak_through(guarded.say_last)
    from trainer.commands import train as train_command
    from trainer.process import log_format

    log_format.set_up()
    return train_command.run(command, cluster, guarded)


def _evaluate(command: options.EvaluateOptions) -> int:
    from trainer.commands import evaluate as evaluate_command
    from trainer.process import log_format

    log_format.set_up()
    return evaluate_command.evaluate_once(command)


def _launch(command: options.LaunchOptions) -> int:
    from trainer.commands import launch as launch_command

    return launch_command.run(command, command.trainer_args)


def _tune(command: options.TuneOptions) -> int:
    signals.block_signals()
    from trainer.commands import tune

    return tune.run(command)


def _check(command: options.CheckOptions) -> int:
    from trainer.commands import check

    return check.run(command)


_VERBS = {
    "train": _train,
    "evaluate": _evaluate,
    "launch": _launch,
    "tune": _tune,
    "check": _check,
}


def main() -> None:
    """Runs the command line and exits with its exit code."""
    try:
        command = cli_parser.parse(sys.argv[1:])
        exit_code = _VERBS[command.verb](command)
    except (InputError, Resumable) as error:
        exit_code = error.exit_code
        console.print_line(f"muster: error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        exit_code = EXIT_RESUME
        console.print_line("muster: error: stopped by Ctrl-C; run the same command again to resume")
    except Exception as error:
        if shown := _out_of_memory(error):
            exit_code = EXIT_BAD_INPUT
            console.print_line(f"muster: error: {shown}")
        else:  # A fault of the program: print the whole traceback, and do not hang.
            exit_code = EXIT_FAULT
            console.print_line(traceback.format_exc().rstrip("\n"))
    _leave(exit_code)


def _out_of_memory(error: Exception) -> str:
    """The message for an error that more memory or a smaller run would fix; "" for any other error."""
    # By its name: TensorFlow may not be imported.
    if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
        return ""
    asked = re.search(
        r"(OOM when allocating|Unable to allocate).*?(?= on /job:| by allocator|$)", str(error)
    )
    return (
        f"memory ran out. Received: {asked[0] if asked else type(error).__name__}; lower "
        "`model.hidden_units` or `data.global_batch_size`, or use a larger machine."
    )


def _leave(exit_code: int) -> None:
    """Exits without TensorFlow's shutdown, which can wait for servers that have stopped."""
    console.flush()
    if "tensorflow" in sys.modules:
        os._exit(exit_code)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
