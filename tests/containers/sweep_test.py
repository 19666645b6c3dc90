"""Does the sweep of compose.sweep.yaml lose a trial with a client's container?"""

import json
import secrets

from tests.containers import engine
from tests.containers.engine import PATIENCE_S, Project

NUM_TRIALS = 3
FLAGS = (
    "--config.train.epochs=80 --config.train.steps_per_loop=2 --config.train.checkpoint_every_steps=24 "
    "--space.optimizer.learning_rate=1e-4..1e-2:log"
)


def test_a_killed_client_starts_again_and_all_trials_come_to_their_end(image, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(secrets.token_hex(16))
    secret.chmod(0o444)  # For user 10001, whom no test may make its owner without rights.
    asked = {"CONFIG": "digits_dense", "TRIALS": str(NUM_TRIALS), "FLAGS": FLAGS}
    asked["SECRET_FILE"] = str(secret)
    with Project("compose.sweep.yaml", image, **asked) as project, project.up() as up:
        up.await_lines(" connected", 2, PATIENCE_S)
        client, chief = project.container("client", 2), project.container("chief")
        trials = "import pathlib, sys; sys.exit(len([*pathlib.Path('runs/sweep').glob({!r})]) < 2)"
        under_way = trials.format("trials/*/checkpoints")
        engine.await_so(lambda: engine.run_python(chief, under_way) == 0, "a trial on each client")
        engine.signal_all(client, "KILL")
        up.await_line("was lost", PATIENCE_S)
        up.await_lines(" connected", 3, PATIENCE_S)
        project.finished(up)
        assert engine.inspect(client)["RestartCount"] == 1
        run = engine.copied(chief, "sweep", tmp_path)
    found = json.loads((run.workdir / "trials.json").read_text())
    assert [one["status"] for one in found] == ["completed"] * NUM_TRIALS
    logs = [path.read_text() for path in run.workdir.glob("trials/*/log.txt")]
    assert any("resuming at step" in log for log in logs)
