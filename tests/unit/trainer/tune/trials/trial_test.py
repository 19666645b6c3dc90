"""Is a trial started with the right command line, and is its error the right one?"""

import pytest

from trainer.cli import parser as cli_parser
from trainer.tune.trials import trial

ARGS = ["--config=c.json", "--workdir=w"]


@pytest.mark.parametrize(
    "flags, expected",
    [
        ((), ARGS),
        (("--workers=1", "--ps=0"), ARGS),
        (("--workers=1", "--devices_per_worker=2"), [*ARGS, "--devices=2"]),
        (("--strategy=mirrored",), [*ARGS, "--strategy=mirrored"]),
        (
            ("--workers=2", "--transport=tensorflow"),
            [
                "launch",
                "--workers=2",
                "--devices_per_worker=1",
                "--",
                *ARGS,
                "--transport=tensorflow",
            ],
        ),
        (
            ("--ps=1",),
            ["launch", "--workers=1", "--ps=1", "--devices_per_worker=1", "--", *ARGS],
        ),
    ],
)
def test_a_trial_uses_launch_if_its_flags_ask_for_a_cluster(flags, expected):
    args = trial.command(ARGS, flags)
    assert args == expected
    cli_parser.parse(args)


def test_the_tasks_of_a_trial_are_forked_only_if_trials_are():
    one, several = (), ("--workers=2",)
    assert trial.command(ARGS, one, is_warm=False) == ARGS
    args = trial.command(ARGS, several, is_warm=False)
    assert "--warm=false" in args and "--warm=false" not in trial.command(ARGS, several)
    assert not cli_parser.parse(args).warm


@pytest.mark.parametrize(
    "code, message, last_line, expected",
    [
        (2, "`x` is bad", "epoch 3", "`x` is bad"),
        (1, "", "ValueError: no", "ValueError: no"),
        (1, "", "", "it ended with exit code 1"),
        (
            -9,
            "",
            "epoch 3",
            "it was killed by SIGKILL, as when memory runs out; its last line was: epoch 3",
        ),
        (-11, "", "epoch 3", "it was killed by SIGSEGV; its last line was: epoch 3"),
    ],
)
def test_the_error_of_a_trial_says_how_its_process_ended(code, message, last_line, expected):
    assert trial.exit_reason(code, message, last_line) == expected
