"""How does a Keras optimizer update weights as a pure function?

`Optimizers` has one for each weight, whose `stateless_apply` works on TensorFlow too. An optimizer of one
weight updates it as one of all weights would, where nothing but a norm over all gradients connects them;
and a strategy can hold, cut and send the slots of each weight with it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.optimizers.base_optimizer import BaseOptimizer

from trainer.config.schema import OptimizerConfig
from trainer.model import learning_rates

_OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "adafactor": keras.optimizers.Adafactor,
    "adamax": keras.optimizers.Adamax,
    "ftrl": keras.optimizers.Ftrl,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "muon": keras.optimizers.Muon,
    "nadam": keras.optimizers.Nadam,
}


def make_optimizer(config: OptimizerConfig, total_steps: int = 0):
    """An unbuilt Keras optimizer whose `stateless_apply` works, for a run of `total_steps`."""
    settings: dict[str, Any] = {"weight_decay": config.weight_decay} if config.weight_decay else {}
    settings |= ema_settings(config.ema_momentum)
    own: dict[str, dict[str, Any]] = {
        "sgd": {"momentum": config.momentum},
        "rmsprop": {"momentum": config.momentum},
        "adamw": {"weight_decay": config.weight_decay},
        "muon": {
            "weight_decay": config.weight_decay,
            "adam_weight_decay": config.weight_decay,
            # Keras advises AdamW for the last layer.
            "exclude_layers": ["(^|/)output/"],
        },
    }
    return stateless(_OPTIMIZERS[config.name])(
        learning_rate=learning_rates.make(config, total_steps),
        name=config.name,
        **{**settings, **own.get(config.name, {})},
    )


def ema_settings(momentum: float) -> dict[str, Any]:
    """Keras's arguments for averages of the weights; none for 0."""
    return {"use_ema": True, "ema_momentum": momentum} if momentum else {}


class _Neutral(keras.optimizers.Optimizer):
    """Keras's backend-neutral update in place of its TensorFlow one.

    On TensorFlow Keras refuses `stateless_apply`, because its own update calls tf.distribute. Here the
    strategy adds the gradients, and the update must not; the base class, which Keras uses on its other
    backends, has such an update.
    """

    assign = BaseOptimizer.assign
    assign_add = BaseOptimizer.assign_add
    assign_sub = BaseOptimizer.assign_sub
    stateless_apply = BaseOptimizer.stateless_apply
    _var_key = BaseOptimizer._var_key
    _backend_update_step = BaseOptimizer._backend_update_step
    _apply_weight_decay = BaseOptimizer._apply_weight_decay

    def _backend_apply_gradients(self, grads, trainable_variables):
        every, self.ema_overwrite_frequency = self.ema_overwrite_frequency, None
        try:
            super()._backend_apply_gradients(grads, trainable_variables)
        finally:
            self.ema_overwrite_frequency = every
        if self.use_ema and every:  # Keras's branch would leave a tensor behind.
            averages = self._model_variables_moving_average
            is_due = tf.equal((self.iterations + 1) % every, 0)
            for variable, average in zip(trainable_variables, averages, strict=True):
                variable.assign(tf.where(is_due, average, variable))


def stateless(optimizer_class: type) -> type:
    """The class with a working `stateless_apply`. What it overrides itself stays."""
    return type(optimizer_class.__name__, (optimizer_class, _Neutral), {})


def _track_all(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes every variable of a built optimizer one of its `variables`: Nadam forgets one."""
    tracked = {id(variable) for variable in optimizer.variables}
    for name, value in list(vars(optimizer).items()):
        if isinstance(value, keras.Variable) and id(value) not in tracked:
            own = keras.Variable(value.numpy(), dtype=value.dtype, name=name.strip("_"))
            setattr(optimizer, name, own)
            if id(own) not in {id(variable) for variable in optimizer.variables}:
                optimizer._track_variable(own)


_WITH_THE_USUAL_STEP = (
    "optimizers.base_optimizer",
    "optimizers.nadam",
    "backend.tensorflow.optimizer",
)


def overridden(optimizer_class: type, names: Sequence[str]) -> list[str]:
    """Those of these methods that an optimizer has of its own: Muon decays weights in its own way.

    Nadam's own update only advances a number that is the same for each weight.
    """
    of_keras = [f"keras.src.{name}" for name in _WITH_THE_USUAL_STEP]
    return [name for name in names if getattr(optimizer_class, name).__module__ not in of_keras]


class Optimizers:
    """The optimizers of a model's weights, built when they are first used.

    Args:
      variables: the weights, of which only names, shapes and constraints are used.
      names: a unique name for each.
      make: returns an unbuilt optimizer with a working `stateless_apply`.
      shares: whether weights of one shape may share an optimizer, as it reads no name or path.
      shapes: those of the weights, where they are parts of the variables; None: they are whole.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        names: list[str],
        make: Callable[[], keras.optimizers.Optimizer],
        shares: bool = True,
        shapes: Sequence[tuple[int, ...]] | None = None,
    ):
        self.names = names
        self._variables = list(variables)
        self._shapes = list(shapes or [tuple(variable.shape) for variable in self._variables])
        self._make = make
        self._shares = shares
        self._built: dict[object, keras.optimizers.Optimizer] = {}

    @property
    def description(self) -> str:
        """Such as "the optimizer Adam"."""
        return f"the optimizer {type(self._of(0)).__name__}"

    def of_parts(self, parts: Sequence[tuple[int, tuple[int, ...]]]) -> "Optimizers":
        """The optimizers of parts of the weights: of each the weight's index, and the part's shape.

        A part gets the bits of the whole where the update connects no numbers (`elementwise.py`).
        """
        variables = [self._variables[index] for index, _ in parts]
        names, shapes = [self.names[index] for index, _ in parts], [shape for _, shape in parts]
        return Optimizers(variables, names, self._make, self._shares, shapes)

    def trace(self, index: int) -> tuple[tf.Graph, tf.TensorShape]:
        """The operations of one update of a weight, of its gradient and slots; the weight's shape."""
        shape, slots = self._shapes[index], self._of(index).variables
        weight = tf.TensorSpec(shape, self._variables[index].dtype)
        specs = [tf.TensorSpec(slot.shape, slot.dtype) for slot in slots]
        traced = tf.function(self._of(index).stateless_apply, autograph=False)
        graph = traced.get_concrete_function(specs, [weight], [weight]).graph
        return graph, tf.TensorShape(shape)

    def slots(self) -> list[list[keras.Variable]]:
        """For each weight, the variables of its optimizer."""
        return [list(self._of(index).variables) for index in range(len(self.names))]

    def initial_slots(self) -> list[list[np.ndarray]]:
        """What the slots are before the first update; read-only, and without memory where all equal."""
        return [[_initial(slot) for slot in own] for own in self.slots()]

    def slot_names(self, index: int) -> list[str]:
        """Such as "iteration" and "weight_momentum"."""
        return [slot.path.rpartition("/")[2] for slot in self._of(index).variables]

    def learning_rate(self, num_updates: int) -> float:
        """That of the update after `num_updates` others."""
        with tf.init_scope(), tf.device("CPU:0"):
            return learning_rates.at(self._of(0), num_updates)

    @property
    def keeps_averages(self) -> bool:
        """Whether an optimizer keeps moving averages of its weight."""
        return any(self._of(index).use_ema for index in range(len(self.names)))

    @property
    def follows_schedule(self) -> bool:
        """Whether a learning rate depends on the number of updates."""
        rates = [self._of(index)._learning_rate for index in range(len(self.names))]
        return any(
            isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) for rate in rates
        )

    def update(self, weights: list, slots: list, gradients: list) -> tuple[list, list]:
        """Weights and slots after one update with mean gradients."""
        updated = [
            self._of(index).stateless_apply(own, [gradient], [weight])
            for index, (weight, own, gradient) in enumerate(
                zip(weights, slots, gradients, strict=True)
            )
        ]
        return [weight for (weight,), _ in updated], [list(own) for _, own in updated]

    def averaged(self, weights: list, slots: list) -> list:
        """The weights to evaluate: their moving averages, where an optimizer keeps these (`use_ema`)."""
        return [
            self._averaged(self._of(index), weight, own)
            for index, (weight, own) in enumerate(zip(weights, slots, strict=True))
        ]

    def _averaged(self, optimizer: keras.optimizers.Optimizer, weight, own: list):
        if not optimizer.use_ema:
            return weight
        values = dict(zip(map(id, optimizer.variables), own, strict=True))
        average = values[id(optimizer._model_variables_moving_average[0])]
        return tf.where(values[id(optimizer._iterations)] > 0, average, weight)

    def key(self, index: int) -> object:
        """Equal for weights that have one optimizer in common."""
        return self._shapes[index] if self._shares else index

    def _of(self, index: int):
        variable, key = self._variables[index], self.key(index)
        if key not in self._built:
            with tf.init_scope(), tf.device("CPU:0"):
                optimizer = self._make()
                name = "weight" if self._shares else variable.name
                weight = keras.Variable("zeros", self._shapes[index], variable.dtype, name=name)
                weight.constraint = variable.constraint
                if hasattr(optimizer, "exclude_layers"):  # Muon reads the layer's name.
                    weight._path = variable.path
                optimizer.build([weight])
                _track_all(optimizer)
                for one in (weight, *optimizer.variables):
                    _free(one)
            self._built[key] = optimizer
        return self._built[key]


def _free(variable: keras.Variable) -> None:
    """Frees the memory of a variable of equal numbers: only its initial value is ever read."""
    if len(variable.shape) and variable._value is not None:
        value = variable.numpy()  # Empty where only a program is traced: nothing to free.
        if value.size and (value == value.flat[0]).all():
            # As Keras leaves a variable that is not initialised yet: it then calls the initialiser.
            variable._initializer = keras.initializers.Constant(value.flat[0].item())
            variable._value = None


def _initial(variable: keras.Variable) -> np.ndarray:
    if variable._value is not None:
        return variable.numpy()
    return np.broadcast_to(np.array(variable._initializer.value, variable.dtype), variable.shape)
