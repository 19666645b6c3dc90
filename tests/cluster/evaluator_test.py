"""Does an evaluator evaluate the checkpoints that the others save?"""

import json

from tests.cluster import cluster

EPOCHS, STEPS_PER_EPOCH = 5, 24


def test_the_evaluator_computes_the_same_metrics_as_evaluate(tmp_path):
    process = cluster.launching(
        tmp_path, f"--config.train.epochs={EPOCHS}", workers=1, ps=1, also=["--evaluator"]
    )
    run = cluster.finished(process, tmp_path)
    events = [json.loads(line) for line in (tmp_path / "evaluator.jsonl").read_text().splitlines()]
    last = events[-1]
    assert last["step"] == run.summary["steps"] == EPOCHS * STEPS_PER_EPOCH
    with cluster.Process([*cluster.TRAINER, "evaluate", f"--workdir={tmp_path}"]) as evaluation:
        assert evaluation.wait() == 0, evaluation.said
    found = cluster.printed_json(evaluation)
    names = ("step", "loss", "accuracy")
    assert [last[name] for name in names] == [found[name] for name in names]
    assert found["loss"] == run.summary["test_loss"]
    assert found["accuracy"] == run.summary["test_accuracy"]
