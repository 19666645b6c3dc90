"""Which flags do several verbs share?

Each group is a dataclass that the verbs in `options.py` inherit from, so that a flag which means the same
in two verbs is declared and documented once.
"""

import dataclasses
from collections.abc import Mapping

from strategies.cluster.flags import ClusterFlags
from strategies.network.flags import SecurityFlags
from trainer.config.fields import ConfigError, option, short_json


@dataclasses.dataclass(frozen=True)
class ScreenOptions:
    """What is printed. At most one of them is given."""

    json: bool = option(
        False, "print events for programs, a JSON object on each line of stdout (docs/terminal.md)"
    )
    quiet: bool = option(False, "print errors and the final result only")
    verbose: bool = option(
        False, "print plain lines, those that all tasks print too, and TensorFlow's own warnings"
    )


@dataclasses.dataclass(frozen=True)
class WorkdirOptions:
    """Where the results are stored."""

    workdir: str = option(
        "",
        "folder for checkpoints, metrics and results; the same command with the same folder resumes; "
        "default: a new folder under runs/",
        metavar="DIR",
    )


@dataclasses.dataclass(frozen=True)
class RecordOptions:
    """What a run leaves for people."""

    report: bool = option(
        True, "write WORKDIR/report.html when the run ends, also where it fails or is stopped"
    )
    profile: str = option(
        "",
        "steps to trace for TensorBoard's profiler, e.g. 100:110 for ten, counted from 0; each task that "
        "sees the workdir traces its own",
        metavar="FIRST:END",
    )

    @property
    def profile_steps(self) -> range:
        """The steps of `profile`. Raises ConfigError."""
        first, _, end = self.profile.partition(":")
        if not self.profile:
            return range(0)
        if not (first.isdecimal() and end.isdecimal() and int(first) < int(end) < 2**31):
            raise ConfigError(
                "`--profile` must be two numbers of steps, the first below the second. Received: "
                f"{short_json(self.profile)}; try --profile=100:110."
            )
        return range(int(first), int(end))


@dataclasses.dataclass(frozen=True)
class OverrideOptions:
    """Fields of the config, as in --config.train.epochs=5."""

    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True)
class TrainerArgsOptions:
    """The flags of train after `--`, each as --NAME=VALUE."""

    trainer_args: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class TrialOptions:
    """How a sweep's trials run."""

    parallel_trials: int = option(
        1, "trials to run at once on this machine; they share its cores and GPUs", least=1
    )
    workers_per_trial: int = option(1, "number of workers of each trial", least=1)
    ps_per_trial: int = option(
        0,
        "number of parameter servers of each trial; of `compare`: of an asynchronous one, at least 1",
        least=0,
    )
    max_trial_s: float = option(
        0.0, "seconds after which a trial fails; 0: no limit", least=0, below=1e9
    )
    bind: str = option(
        "",
        "address the sweep's server binds to, if clients use another",
        metavar="HOST",
    )


@dataclasses.dataclass(frozen=True)
class ClusterOptions:
    """Which tasks there are, and which of them this process is."""

    cluster: str = option(
        "",
        "addresses of all tasks, instead of TF_CONFIG: worker=a:2222,b:2222. Separate jobs with ; as in "
        "'chief=c:2222;worker=a:2222,b:2222;ps=p:2222'. a[0-3]:2222 is short for four hosts; a list "
        "without a job name is a list of workers. In a sweep the chief serves the trials; without a "
        "chief worker 0 does, and runs some too. Default in a Slurm step with several tasks: those tasks",
        metavar="JOB=HOST:PORT,...",
    )
    task: str = option(
        "",
        "the task that this process is, e.g. worker:0; default: the task in --cluster with this "
        "machine's address or, in a Kubernetes Indexed Job, at position JOB_COMPLETION_INDEX",
        metavar="JOB:N",
    )

    @property
    def cluster_flags(self) -> ClusterFlags:
        """The flags from which the cluster is resolved."""
        return ClusterFlags(self.cluster, self.task)


@dataclasses.dataclass(frozen=True)
class DeviceOptions:
    """Which devices this process uses."""

    devices: int = option(
        0, "number of GPUs, or of CPU replicas; 0: all GPUs, or one CPU replica", least=0
    )
    tpu: str = option(
        "", "name of the TPU to use; `local` for one attached to this machine", metavar="NAME"
    )


@dataclasses.dataclass(frozen=True)
class CompileOptions:
    """How programs are compiled."""

    compile_cache: str = option(
        "",
        "folder for compiled programs, which later runs execute; off: compile each time; default: a "
        "folder that only this user can open, $XDG_CACHE_HOME/muster/xla or ~/.cache/muster/xla",
        metavar="DIR|off",
    )


@dataclasses.dataclass(frozen=True)
class CheckpointOptions:
    """Which checkpoint of a run is meant."""

    workdir: str = option("", "folder of the run", metavar="DIR")
    checkpoint: int = option(0, "step of the checkpoint; 0: the newest", least=0)
    best: bool = option(
        False, "take the checkpoint with the lowest test loss measured so far, not the newest"
    )


@dataclasses.dataclass(frozen=True)
class PeerOptions:
    """How a process deals with its peers."""

    secret_file: str = option(
        "",
        "file with a secret that all tasks share: no other process can join, and connections are "
        "encrypted (TLS 1.3); default: the environment variable MUSTER_SECRET; without either, neither",
        metavar="FILE",
    )
    tls_ca: str = option(
        "",
        "instead of a secret: PEM file of the authority that signed the certificate of every task, and "
        "nothing else",
        metavar="FILE",
    )
    tls_cert: str = option(
        "",
        "with --tls_ca: PEM file of this task's certificate, for client and server",
        metavar="FILE",
    )
    tls_key: str = option(
        "", "with --tls_ca: PEM file of the private key, without a passphrase", metavar="FILE"
    )
    peer_timeout_s: float = option(
        30.0, "seconds without an answer after which a task is lost", above=0, below=1e6
    )

    @property
    def security_flags(self) -> SecurityFlags:
        """The flags that secure this process's connections."""
        return SecurityFlags(self.secret_file, self.tls_ca, self.tls_cert, self.tls_key)


@dataclasses.dataclass(frozen=True)
class StartupOptions:
    """How long the start may take."""

    startup_timeout_s: float = option(
        120.0,
        "seconds to wait at the start for all tasks to connect, or for a named TPU to be found",
        above=0,
        below=1e6,
    )


@dataclasses.dataclass(frozen=True)
class StallOptions:
    """How long nothing may happen."""

    stall_timeout_s: float = option(
        600.0,
        "seconds without progress after which the process prints the stack of every thread and exits",
        above=0,
        below=1e6,
    )


@dataclasses.dataclass(frozen=True)
class SupervisorOptions:
    """How processes that this one started are restarted and stopped."""

    max_restarts: int = option(
        3,
        "how often lost tasks are restarted from the newest checkpoint; each newer checkpoint resets the "
        "count; 0: never",
        least=0,
    )
    warm: bool = option(
        True,
        "fork all processes from one that has imported TensorFlow; false: each imports it for itself",
    )
    grace_s: float = option(
        40.0, "seconds between asking processes to stop and killing them", least=0, below=1e6
    )
