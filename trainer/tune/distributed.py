"""How does a machine take part in a sweep across several?"""

from strategies.errors import EXIT_DONE, EXIT_RESUME, Resumable
from trainer.process import console
from trainer.process.health import Health
from trainer.task import fingerprint
from trainer.tune.local import START_S, run_trials
from trainer.tune.machines.role import LEADER
from trainer.tune.search import finished
from trainer.tune.sweep import FREE, SweepSpec


def take_part(plan: SweepSpec, cluster, key, folder, slots, stop) -> int:
    """A client's part, unless the sweep is over and nobody gives out trials any more."""
    try:
        return _run_as_client(plan, cluster, key, folder, slots, stop)
    except Resumable:
        if not finished.is_over(folder, plan.search_in):
            raise
        console.print_line(f"tune: the sweep in {folder} is over, so that nobody is missed")
        return EXIT_DONE


def _run_as_client(plan: SweepSpec, cluster, key, folder, slots, stop) -> int:
    from trainer.tune.machines.client import Client

    options = plan.options
    lost: list[Resumable] = []
    health = Health.from_env()

    def look() -> None:
        if lost:
            raise lost[0]
        health.record_progress()

    carried = fingerprint.versions() | plan.asked
    timeouts = options.startup_timeout_s, options.peer_timeout_s
    with Client(cluster.name, cluster.address, carried, key, *timeouts, lost.append) as source:
        console.print_line(f"tune: {cluster}; its trials are in {folder}")
        stop.set_grace_period(options.grace_s + START_S)
        # Where the data lies is each machine's own affair, and not the chief's.
        own = {name: text for name, text in options.overrides.items() if name in FREE}
        run_trials(options, source, folder, slots, stop, own, look)
    return EXIT_RESUME if stop.requested else EXIT_DONE


def serve(plan: SweepSpec, cluster, key, search, say, look, stop, run) -> None:
    from trainer.tune.machines.leader import lead
    from trainer.tune.machines.server import SweepServer

    options = plan.options
    chief = SweepServer(
        search,
        cluster.address,
        options.bind,
        fingerprint.versions() | plan.asked,
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
