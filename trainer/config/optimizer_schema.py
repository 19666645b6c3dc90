"""How do gradients update the weights? `OptimizerConfig` has the fields of the section `optimizer`."""

import dataclasses

from trainer.config.fields import option

SCHEDULES = ("constant", "cosine", "linear", "exponential", "piecewise")
OPTIMIZERS = (
    ("sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "adafactor", "adamax")
    + ("ftrl", "lamb", "lion", "muon", "nadam")
)  # fmt: skip
OF_RUN_LENGTH = ("cosine", "linear", "exponential")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How gradients update the weights."""

    name: str = option(
        "adam",
        "Keras optimizer; muon is for a recipe's own model, and leaves a layer named output to AdamW",
        choices=OPTIMIZERS,
    )
    learning_rate: float = option(
        0.001,
        "step size; with a schedule the largest, which follows the warm-up",
        above=0,
        below=1e6,
    )
    momentum: float = option(0.0, "momentum, for sgd and rmsprop", least=0, below=1)
    weight_decay: float = option(0.0, "decoupled weight decay", least=0, below=1e6)
    global_clipnorm: float = option(
        0.0, "scale the gradient down to this norm, taken over all weights; 0: do not clip", least=0
    )
    ema_momentum: float = option(
        0.0,
        "evaluate, export and predict with exponential moving averages of the weights, of which a step "
        "keeps this share, e.g. 0.99; 0: with the weights themselves",
        least=0,
        below=1,
        since=2,
    )
    schedule: str = option(
        "constant",
        "how the learning rate changes after the warm-up. cosine, linear: down to `final_ratio` of it "
        "in `decay_steps`; exponential: times `decay_rate` in each `decay_steps`, smoothly; piecewise: "
        "times `decay_rate` after each of `boundaries`",
        choices=SCHEDULES,
        since=2,
    )
    warmup_steps: int = option(
        0, "steps in which the learning rate first grows from 0, linearly", least=0, since=2
    )
    decay_steps: int = option(
        0,
        "steps after the warm-up, for cosine, linear and exponential; 0: until the end of the run, whose "
        "length then may not change when it resumes",
        least=0,
        since=2,
    )
    decay_rate: float = option(
        0.1,
        "factor of the learning rate, for exponential and piecewise",
        above=0,
        below=1e6,
        since=2,
    )
    final_ratio: float = option(
        0.0,
        "share of the learning rate that is left at the end, for cosine and linear",
        least=0,
        below=1e6,
        since=2,
    )
    boundaries: tuple[int, ...] = option(
        (), "steps of the run, in order, for piecewise, e.g. 1000,2000", least=1, since=2
    )

    @property
    def decays_with_run(self) -> bool:
        """Whether the length of the run decides the learning rate of its steps."""
        return self.schedule in OF_RUN_LENGTH and not self.decay_steps
