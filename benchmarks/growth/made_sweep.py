"""What does a sweep's own bookkeeping do, without any training? It asks, tells and writes as a real one.

The search, its oracle and its ledger are those of `tune`; only the trials' results are made up.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

from strategies import tensorflow_import
from trainer.config.load import override, resolve
from trainer.tune.search.ledger import Ledger
from trainer.tune.search.record import COMPLETED, Objective
from trainer.tune.search.search import Search
from trainer.tune.search.trial_source import Outcome, Progress
from trainer.tune.space import space as space_lib
from trainer.tune.space.space import Space

_EPOCHS, _FACTOR = 81, 3
_SEED = 1


class MadeSweep:
    """A sweep of up to `trials` trials of the default recipe, in `folder`."""

    def __init__(self, folder: pathlib.Path, tuner: str, trials: int):
        with tensorflow_import.quietly():
            import keras  # noqa: F401, before keras-tuner, as `tune` does.
        dimensions = {"optimizer.learning_rate": "0.0001..0.1:log", "model.hidden_units": "8|16|32"}
        if tuner == "grid":
            dimensions = {
                "optimizer.learning_rate": "|".join(f"{n}e-6" for n in range(1, trials + 1))
            }
        self.space: Space = space_lib.load("digits_dense", "", dimensions)
        self.objective = Objective.named("test_accuracy")
        self._folder, self._tuner, self._trials = folder, tuner, trials
        self._base = resolve("digits_dense")

    @contextlib.contextmanager
    def search(self) -> Iterator[Search]:
        """The search, restored from the folder's ledger."""
        from trainer.tune.search import oracle

        found = oracle.create(
            self._tuner, self.space, self.objective, max_trials=self._trials, seed=_SEED,
            max_epochs=_EPOCHS, factor=_FACTOR,
        )  # fmt: skip
        ledger = Ledger(self._folder / "ledger.jsonl", {"seed": _SEED})
        with contextlib.closing(ledger):
            yield Search(self.objective, found, ledger, self._make_trial)

    def run(self, search: Search, on_poll: Callable[[], None] = lambda: None) -> int:
        """Takes all trials, one after the other; the number of them."""
        count = 0
        while spec := search.ask("0"):
            accuracy = count * 7919 % 1009 / 1009
            search.report(spec.id, Progress(24, 1.0, {self.objective.name: accuracy}))
            metrics = {self.objective.name: accuracy, "test_loss": 1 - accuracy}
            search.tell(spec.id, Outcome(COMPLETED, metrics, 24, 1.0, seconds=2.0))
            on_poll()
            count += 1
        return count

    def _make_trial(self, suggestion):
        overrides, _ = self.space.split(suggestion.values)
        return override(self._base, overrides), ("--workers=1",)
