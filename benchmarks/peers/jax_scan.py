"""JAX: an epoch's steps in one jitted `lax.scan`, with the state donated and the data on the device.

Adam is written out, with Keras's epsilon; no Optax is needed.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Work, report


def main() -> None:
    work = Work.from_args()
    images, labels = work.in_order()
    per_epoch, batch = work.warm_up, work.global_batch_size
    images = jnp.asarray(images.reshape(work.epochs, per_epoch, batch, 784))
    labels = jnp.asarray(labels.reshape(work.epochs, per_epoch, batch))
    epochs = [(images[epoch], labels[epoch]) for epoch in range(work.epochs)]
    weights = [jnp.asarray(weight) for weight in work.first_weights()]
    zeros = [jnp.zeros_like(weight) for weight in weights]
    state = (weights, zeros, [jnp.copy(zero) for zero in zeros], jnp.zeros(()))

    def train(first_step: int, end_step: int) -> float:
        nonlocal state
        losses = []
        for epoch in range(first_step // per_epoch, end_step // per_epoch):
            state, loss = train_epoch(state, *epochs[epoch])
            losses.append(loss)
        return float(np.mean(losses))

    jax.block_until_ready((epochs, state))
    report(work, train)


def mean_loss(weights, images, labels):
    hidden = jax.nn.relu(images @ weights[0] + weights[1])
    logits = hidden @ weights[2] + weights[3]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()


def adam(weight, first, second, gradient, step):
    first += (gradient - first) * (1 - BETA_1)
    second += (gradient * gradient - second) * (1 - BETA_2)
    rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    return weight - rate * first / (jnp.sqrt(second) + EPSILON), first, second


def train_step(state, batch):
    weights, firsts, seconds, step = state
    step += 1
    loss, gradients = jax.value_and_grad(mean_loss)(weights, *batch)
    updated = [adam(*own, step) for own in zip(weights, firsts, seconds, gradients, strict=True)]
    return (*map(list, zip(*updated, strict=True)), step), loss


@jax.jit(donate_argnums=0)
def train_epoch(state, images, labels):
    state, losses = jax.lax.scan(train_step, state, (images, labels))
    return state, losses.mean()


if __name__ == "__main__":
    main()
