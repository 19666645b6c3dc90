"""What does `python -m trainer tune` do?

It searches a space for the best values, trial by trial. keras-tuner's oracles propose them, each trial
is a run of this trainer in a folder of its own, and what was decided is in a ledger, so the same command
goes on with a sweep that was stopped or killed. On several machines one task has the search, and the
others run its trials.
"""

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from strategies import secret
from strategies.errors import EXIT_DONE, EXIT_RESUME, InputError, Resumable
from strategies.packages import version
from trainer import config as config_lib
from trainer import gpu_share, in_common, launch, screen, tensorflow_import
from trainer import workdir as workdir_lib
from trainer.cli import TuneOptions, parse
from trainer.config import ExperimentConfig
from trainer.health import Health
from trainer.stop import StopRequest
from trainer.sweep import compiled, ended, trial_process
from trainer.sweep import space as space_lib
from trainer.sweep.assignment import Source
from trainer.sweep.ledger import Ledger
from trainer.sweep.machines.part import CLIENT, LEADER, SweepCluster
from trainer.sweep.oracle import TUNERS, Suggestion
from trainer.sweep.record import Objective
from trainer.sweep.runner import Runner
from trainer.sweep.search import Search
from trainer.sweep.slots import Slot, share
from trainer.sweep.space import Space
from trainer.sweep.trial import Limits, command
from trainer.workdir import Workdir

_START_S = 60.0  # For a trial's process to say its first word, on a busy machine.
# What a sweep that goes on may be asked anew: it leaves the trials' figures alone.
_FREE = ("data.dir", "data.placement", "data.download_timeout_s")


def run(options: TuneOptions) -> int:
    """Runs this process's part of the sweep to its end and returns its exit code.

    Raises:
      InputError, Resumable: see their exit codes.
    """
    _check_no_tpu(options)
    cluster = SweepCluster.find(options.asked, os.environ)
    gpu_share.take(cluster.place)
    base = config_lib.resolve(options.config, options.overrides)
    space = space_lib.load(options.config, options.space, options.dimensions)
    space_lib.check(space, base)
    _check_length(options, base)
    _check_overrides(options, space)
    objective = Objective.named(options.objective or _usual_objective(base))
    key = secret.read(options.secret_file)
    slots = _slots(options, cluster) if cluster.runs_trials else []
    stop = StopRequest()
    with _claimed(options, base, cluster) as workdir, compiled.shared():
        asked = _asked(options, base, space, objective)
        search_in = functools.partial(_search, options, base, space, objective, asked)
        if slots:
            trial_process.warm_up()
        if cluster.role == CLIENT:
            return _take_part(options, cluster, asked, key, workdir.path, slots, stop, search_in)
        search = search_in(workdir.path)
        health = Health.from_env()
        with _shown(options, space, search, workdir.path) as show:

            def look() -> None:
                show.look()
                health.note()

            stop.give_grace(options.grace_s + _START_S)
            run = functools.partial(_run, options, search, workdir.path, slots, stop, {})
            if cluster.hands_out:
                _serve(options, cluster, asked, key, search, show.say, look, stop, run)
            else:
                run(look)
        workdir.settle()
        return _conclude(options, search, workdir, stop)


def _check_no_tpu(options: TuneOptions) -> None:
    """A TPU is one process's at a time, and a sweep's are forked from one that has TensorFlow."""
    asked = parse(options.trainer_args)
    build = version("tensorflow-tpu")
    if asked.tpu or asked.strategy == "tpu" or build:
        received = f"tensorflow-tpu {build}" if build else "a TPU, after `--`"
        raise InputError(
            f"`tune` trains on CPUs and GPUs, by the package tensorflow. Received: {received}; run it "
            "where that is, or train each config by itself on a TPU."
        )


def _usual_objective(base: ExperimentConfig) -> str:
    is_classifier = base.data.name in config_lib.CLASSIFICATION_DATASETS
    return "test_accuracy" if is_classifier else "test_loss"


def _check_length(options: TuneOptions, base: ExperimentConfig) -> None:
    if TUNERS[options.tuner].in_epochs and base.train.steps:
        raise InputError(
            f"`train.steps` must be 0 for --tuner={options.tuner}, which counts in epochs. Received: "
            f"{base.train.steps}; add --config.train.steps=0 and --max_epochs=N."
        )


def _check_overrides(options: TuneOptions, space: Space) -> None:
    always = {dimension.name for dimension in space.dimensions if not dimension.when}
    for name, text in options.overrides.items():
        if name in always:
            raise InputError(
                f"`--config.{name}` is searched by the space. Received: {text}; leave it out, or say "
                f"with --space.{name} what to search."
            )


def _slots(options: TuneOptions, cluster: SweepCluster) -> list[Slot]:
    return share(
        options.parallel_trials,
        sorted(os.sched_getaffinity(0)),
        launch.gpus_here(os.environ),
        options.workers_per_trial,
        cluster.name,
    )


@contextlib.contextmanager
def _claimed(
    options: TuneOptions, base: ExperimentConfig, cluster: SweepCluster
) -> Iterator[Workdir]:
    """The sweep's folder. It is one search's at a time; clients may share it with their chief.

    Of a bucket they use the folder on their own machine, which only the search brings in there.
    """
    default = f"runs/sweep-{base.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    workdir = workdir_lib.at(options.workdir or default)
    if cluster.role == CLIENT:
        workdir.make()
        yield workdir
        return
    workdir.make()
    with workdir.held(options.startup_timeout_s):
        if workdir.config.exists():
            raise InputError(
                f"`--workdir` holds a run, and not a sweep. Received: {workdir.name!r}; choose another "
                "folder."
            )
        yield workdir


def _import_keras_tuner() -> None:
    with tensorflow_import.quietly():
        import keras  # noqa: F401, before keras-tuner, which needs scikit-learn.
    try:
        import keras_tuner  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"`tune` needs keras-tuner. Received: {error}; run `pip install 'muster[tune]'`."
        ) from None


def _asked(
    options: TuneOptions, base: ExperimentConfig, space: Space, objective: Objective
) -> dict:
    """All that decides which trials there are, and what they come to."""
    config = {f"config.{name}": value for name, value in config_lib.flatten(base).items()}
    for name in _FREE:
        del config[f"config.{name}"]
    flags = ("tuner", "seed", "max_epochs", "factor", "early_stop")
    each = ("workers_per_trial", "ps_per_trial", "trainer_args")
    return {
        **{name: getattr(options, name) for name in (*flags, *each)},
        "objective": objective.name,
        **config,
        "space": space.as_dict(),
    }


def _search(options, base, space, objective, asked, folder) -> Search:
    _import_keras_tuner()
    from trainer.sweep import oracle

    source = oracle.create(
        options.tuner,
        space,
        objective,
        max_trials=options.max_trials,
        seed=options.seed,
        max_epochs=options.max_epochs or base.train.epochs,
        factor=options.factor,
    )
    make_trial = functools.partial(_make_trial, options, base, space)
    ledger = Ledger(folder / "ledger.jsonl", asked)
    return Search(objective, source, ledger, make_trial, options.early_stop)


def _shown(options, space, search, folder):
    from trainer.sweep.show import Show

    return Show(folder, search, space.dimensions, _planned(options, space))


def _make_trial(
    options: TuneOptions, base: ExperimentConfig, space: Space, suggestion: Suggestion
) -> tuple[ExperimentConfig, tuple[str, ...]]:
    """A trial's config and its flags of launch and train. Raises ConfigError for a bad combination."""
    overrides, flags = space.split(suggestion.values)
    if suggestion.epochs:
        overrides["train.epochs"] = str(suggestion.epochs)
    usual = {"--workers": str(options.workers_per_trial), "--ps": str(options.ps_per_trial)}
    config = config_lib.override(base, overrides)
    return config, tuple(f"{name}={value}" for name, value in (usual | flags).items())


def _run(
    options: TuneOptions,
    source: Source,
    folder: pathlib.Path,
    slots: Sequence[Slot],
    stop: StopRequest,
    own: Mapping[str, str],
    on_look: Callable[[], None],
) -> None:
    train = parse(options.trainer_args)
    limits = Limits(
        options.max_restarts,
        options.max_trial_s,
        train.startup_timeout_s + _START_S,
        options.grace_s,
    )
    args = *options.trainer_args, *(f"--config.{name}={value}" for name, value in own.items())
    runner = Runner(source, folder / "trials", slots, args, limits, on_look)
    runner.run(lambda: stop.requested)


def _take_part(options, cluster, asked, key, folder, slots, stop, search_in) -> int:
    """A client's part, unless the sweep is over and nobody gives out trials any more."""
    try:
        return _run_as_client(options, cluster, asked, key, folder, slots, stop)
    except Resumable:
        if not ended.is_over(folder, search_in):
            raise
        screen.say(f"tune: the sweep in {folder} is over, so that nobody is missed")
        return EXIT_DONE


def _run_as_client(options, cluster, asked, key, folder, slots, stop) -> int:
    from trainer.sweep.machines.client import Client

    lost: list[Resumable] = []
    health = Health.from_env()

    def look() -> None:
        if lost:
            raise lost[0]
        health.note()

    carried = in_common.versions() | asked
    timeouts = options.startup_timeout_s, options.peer_timeout_s
    with Client(cluster.name, cluster.address, carried, key, *timeouts, lost.append) as source:
        screen.say(f"tune: {cluster}; its trials are in {folder}")
        stop.give_grace(options.grace_s + _START_S)
        # Where the data lies is each machine's own affair, and not the chief's.
        own = {name: text for name, text in options.overrides.items() if name in _FREE}
        _run(options, source, folder, slots, stop, own, look)
    return EXIT_RESUME if stop.requested else EXIT_DONE


def _serve(options, cluster, asked, key, search, say, look, stop, run) -> None:
    from trainer.sweep.machines.chief import Chief
    from trainer.sweep.machines.leader import lead

    chief = Chief(
        search,
        cluster.address,
        options.bind,
        in_common.versions() | asked,
        key,
        options.peer_timeout_s,
        lambda line: say(f"tune: {line}"),
        cluster.clients,
        options.startup_timeout_s,
    )
    if cluster.role == LEADER:
        lead(chief, run, look, lambda: stop.requested)
    else:
        chief.serve(options.startup_timeout_s, lambda: stop.requested, look)


def _planned(options: TuneOptions, space: Space) -> int | None:
    """How many trials it will be at most, where that is known."""
    limit = options.max_trials or TUNERS[options.tuner].max_trials
    return min((number for number in (limit, space.size) if number), default=None)


def _conclude(options: TuneOptions, search: Search, workdir: Workdir, stop: StopRequest) -> int:
    again = "" if options.workdir else f" with --workdir={workdir}"
    if stop.requested and not search.is_over:
        screen.say(f"tune: stopped; run the same command again{again} to go on")
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
