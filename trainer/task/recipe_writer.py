"""Does the recipe bring a writer for a run's metrics? `find` makes it, on the task that writes."""

from pathlib import Path

from trainer.config import recipes
from trainer.config.fields import ConfigError
from trainer.metrics.trackers import MetricWriter, Trackers
from trainer.storage.workdir import Workdir
from trainer.task.context import TaskContext

_METHODS = ("write", "close")


def find(task: TaskContext, workdir: Workdir | None) -> Trackers:
    """What `get_writer(config, workdir)` of the recipe returns; nothing where there is none.

    Raises ConfigError where it fails, or returns something else.
    """
    path = recipes.find(task.config.recipe or task.options.config)
    if not workdir or path.suffix == ".json":
        return Trackers()
    recipe = recipes.load(Path(path))
    if not recipe.defines("get_writer"):
        return Trackers()
    writer: MetricWriter = recipe.call("get_writer", task.config, str(workdir.path))
    if lacking := [name for name in _METHODS if not callable(getattr(writer, name, None))]:
        raise ConfigError(
            f"`get_writer` of {path} must return an object with the methods write and close. Received: "
            f"a {type(writer).__name__} without {lacking[0]}; see `trainer.recipe.MetricWriter`."
        )
    return Trackers(writer)
