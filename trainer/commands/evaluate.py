"""What does `python -m trainer evaluate` do? It prints the metrics of one checkpoint."""

import json

from strategies import choose
from strategies.cluster.spec import ClusterSpec
from strategies.devices import for_strategy
from strategies.errors import EXIT_DONE
from trainer.cli.options import EvaluateOptions
from trainer.process import console, event_stream, watchdog
from trainer.storage import locate
from trainer.storage.chosen_step import chosen_step
from trainer.storage.workdir import Workdir
from trainer.task import step_faults
from trainer.task.evaluator import create_evaluator


def evaluate_once(options: EvaluateOptions) -> int:
    """Prints one JSON line; returns the exit code. Raises InputError."""
    with locate.open_workdir(options.workdir).open_readonly() as workdir:
        metrics = _evaluate(options, workdir)
        if event_stream.is_on():
            from trainer.training.evaluation import EVENTS  # TensorFlow has been imported by now.

            event_stream.write({"event": EVENTS[options.split], **metrics})
        else:
            console.print_result(json.dumps(metrics))
    return EXIT_DONE


def _evaluate(options: EvaluateOptions, workdir: Workdir) -> dict[str, float]:
    config = workdir.read_config()
    choice = choose.choose(
        ClusterSpec(),
        options.strategy,
        options.tpu,
        choose.tpu_from_env(),
        options.startup_timeout_s,
    )
    cache = for_strategy.compile_cache(options.compile_cache, choice).turn_on()
    # Native code that calls a TPU waits forever for one that does not answer.
    with watchdog.Watchdog(options.stall_timeout_s):
        evaluator = create_evaluator(options, choice, config, workdir)
        split = evaluator.split(options.split)
        step = options.checkpoint or chosen_step(evaluator.store, workdir, options.best)
        with cache.in_use(repr(config.model)), step_faults.named(config):
            return {"step": step, **evaluator.evaluate(step, split)}
