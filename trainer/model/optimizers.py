"""How does a Keras optimizer update weights as a pure function?

`make_optimizer` returns one whose `stateless_apply` works on TensorFlow too.
"""

import keras

from trainer.config.schema import OptimizerConfig


def make_optimizer(config: OptimizerConfig):
    """An unbuilt Keras optimizer whose `stateless_apply` works."""
    own = {
        "sgd": {"momentum": config.momentum},
        "rmsprop": {"momentum": config.momentum},
        "adamw": {"weight_decay": config.weight_decay},
    }
    return _stateless(_OPTIMIZERS[config.name])(
        learning_rate=config.learning_rate, name=config.name, **own.get(config.name, {})
    )


_OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}


def _stateless(optimizer_class: type) -> type:
    """The class with Keras's backend-neutral update in place of its TensorFlow one.

    On TensorFlow Keras refuses `stateless_apply`, because its own update calls tf.distribute. Here the
    strategy adds the gradients, and the update must not; the base class, which Keras uses on its other
    backends, has such an update.
    """
    base = next(c for c in optimizer_class.__mro__ if c.__name__ == "BaseOptimizer")
    neutral = (
        "assign assign_add assign_sub stateless_apply "
        "_var_key _backend_update_step _apply_weight_decay"
    ).split()
    return type(
        optimizer_class.__name__,
        (optimizer_class,),
        {name: getattr(base, name) for name in neutral},
    )
