"""How does a machine take part in a sweep across several machines?

`run_server` assigns trials to the clients, and may run some itself. `run_client` runs the trials that the
server assigns to this machine.
"""

from collections.abc import Callable

from strategies.errors import EXIT_DONE, EXIT_RESUME, Resumable
from strategies.network.security import Security
from trainer.process import console
from trainer.process.health import Health
from trainer.task import fingerprint
from trainer.tune.local import STARTUP_S, LocalTrials
from trainer.tune.machines.role import LEADER, SweepCluster
from trainer.tune.search.finished import has_finished
from trainer.tune.search.trial_source import TrialSource
from trainer.tune.sweep import CHANGEABLE_FIELDS, SweepSpec


def run_server(
    spec: SweepSpec,
    cluster: SweepCluster,
    security: Security,
    source: TrialSource,
    trials: LocalTrials,
    print_line: Callable[[str], None],
    on_poll: Callable[[], None],
) -> None:
    """Serves the sweep until it has finished or a stop is requested. A leader runs trials meanwhile.

    Raises:
      ClusterError: the server cannot listen at its address.
      Resumable: there are trials left, but no clients.
      WorkdirError: a file cannot be written.
    """
    from trainer.tune.machines.leader import lead
    from trainer.tune.machines.server import SweepServer

    options = spec.options
    server = SweepServer(
        source,
        cluster.address,
        options.bind,
        _fingerprint(spec),
        security,
        options.peer_timeout_s,
        lambda line: print_line(f"tune: {line}"),
        cluster.clients,
        options.startup_timeout_s,
    )
    if cluster.role == LEADER:
        lead(
            server,
            lambda poll: trials.run(source, poll),
            on_poll,
            lambda: trials.stop.requested,
        )
    else:
        server.serve(options.startup_timeout_s, lambda: trials.stop.requested, on_poll)


def run_client(
    spec: SweepSpec, cluster: SweepCluster, security: Security, trials: LocalTrials
) -> int:
    """Runs trials from the sweep's server and returns the exit code.

    If the server cannot be reached, but the sweep in the folder has finished, that is a success.

    Raises:
      ClusterError: the server refuses this client, or the two do not share the secret.
      Resumable: the server was not reached, or is lost.
      WorkdirError: a trial's folder cannot be written.
    """
    try:
        return _run_connected(spec, cluster, security, trials)
    except Resumable:
        if not has_finished(trials.folder, spec.open_search):
            raise
        console.print_line(
            f"tune: the sweep in {trials.folder} has already finished; nothing to do"
        )
        return EXIT_DONE


def _run_connected(
    spec: SweepSpec, cluster: SweepCluster, security: Security, trials: LocalTrials
) -> int:
    from trainer.tune.machines.client import Client

    options = spec.options
    losses: list[Resumable] = []
    health = Health.from_env()

    def on_poll() -> None:
        if losses:
            raise losses[0]
        health.record_progress()

    timeouts = options.startup_timeout_s, options.peer_timeout_s
    with Client(
        cluster.name, cluster.address, _fingerprint(spec), security, *timeouts, losses.append
    ) as client:
        console.print_line(f"tune: {cluster}; its trials are in {trials.folder}")
        trials.stop.set_grace_period(options.grace_s + STARTUP_S)
        # Each machine reads the data from its own path, not from the server's.
        own = {name: text for name, text in options.overrides.items() if name in CHANGEABLE_FIELDS}
        trials.run(client, on_poll, own)
    return EXIT_RESUME if trials.stop.requested else EXIT_DONE


def _fingerprint(spec: SweepSpec) -> dict:
    """What the server and its clients must have in common."""
    return fingerprint.versions() | spec.settings
