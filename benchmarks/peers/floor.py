"""How fast could a step be? The sum of its five products and its Adam sweep, by the fastest kernels.

It has no loop, no activation, no loss, no bias and no gathering: each part is timed separately, on the
work's own batches one after the other, and a step is the sum of the fastest. So no training can be faster
with these kernels. The seconds of every candidate are saved with the results, by part. Measured first
at batch 64, XLA's sweep was ahead of PyTorch's fused Adam; PyTorch, NumPy and XLA were close together on
the two large products; and no candidate was ahead on all the small ones. NumPy's and PyTorch's threads
wait for each other by spinning, and are many times slower while another process uses the cores.
"""

import os
import resource
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Work, say

_TRIAL_S = 0.05
_TRIALS = 3


def main() -> None:
    work = Work.from_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    images = work.in_order()[0][: work.num_examples].reshape(-1, work.global_batch_size, 784)
    parts = {name: timed(of_product(*factors)) for name, factors in products(work, images)}
    parts["adam"] = timed(adams(sum(weight.size for weight in work.first_weights())))
    say(
        examples_per_s=work.global_batch_size
        / sum(min(found.values()) for found in parts.values()),
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        seconds_by_part=parts,
    )


def products(work: Work, images: np.ndarray) -> Iterator[tuple[str, tuple]]:
    """Each product's left factors [k, m, n], taken in turn, its right one, and which is transposed."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32)

    batch = work.global_batch_size
    kernel_1, _, kernel_2, _ = work.first_weights()
    # Several of each: XLA would move what is the same in every iteration out of a loop.
    hidden, logits = normal(4, batch, 128), normal(4, batch, 10)
    yield "hidden", (images, kernel_1)
    yield "logits", (hidden, kernel_2)
    yield "gradient of kernel 2", (hidden.transpose(0, 2, 1), logits[0])
    yield "gradient of hidden", (logits, kernel_2.T)
    yield "gradient of kernel 1", (images.transpose(0, 2, 1), normal(batch, 128))


def timed(kernels: Iterator[tuple[str, Callable[[int], None]]]) -> dict[str, float]:
    """The seconds a call of each; a kernel takes how often it is to run."""
    return {name: _seconds(kernel) for name, kernel in kernels}


def _seconds(kernel: Callable[[int], None]) -> float:
    """The best of several trials: time that another process takes is not part of a floor."""
    times, calls = 0.0, 1
    kernel(calls)
    while times < _TRIAL_S / 4:
        calls *= 2
        times = _time(kernel, calls)
    calls = max(1, int(calls * _TRIAL_S / times))
    return min(_time(kernel, calls) for _ in range(_TRIALS)) / calls


def _time(kernel: Callable[[int], None], calls: int) -> float:
    began = time.perf_counter()
    kernel(calls)
    return time.perf_counter() - began


def of_product(lefts: np.ndarray, right: np.ndarray) -> Iterator[tuple[str, Callable]]:
    """The candidates for one product: BLAS by NumPy, PyTorch's on all cores and on one, and XLA's."""
    out = np.empty((lefts.shape[1], right.shape[1]), np.float32)

    def by_numpy(calls: int) -> None:
        for i in range(calls):
            np.matmul(lefts[i % len(lefts)], right, out=out)

    yield "NumPy", by_numpy
    for threads in {1, torch.get_num_threads()}:
        yield f"PyTorch, {threads} threads", _by_torch(lefts, right, threads)
        swapped = _by_torch(right.T[np.newaxis], lefts.transpose(0, 2, 1), threads)
        yield f"PyTorch, transposed, {threads} threads", swapped
    yield "XLA", _by_xla(lefts, right)


def _by_torch(lefts: np.ndarray, rights: np.ndarray, threads: int) -> Callable[[int], None]:
    """Either factor may be several, taken in turn."""
    firsts = list(torch.from_numpy(lefts))
    seconds = list(torch.from_numpy(rights)) if rights.ndim == 3 else [torch.from_numpy(rights)]
    out = torch.empty(firsts[0].shape[0], seconds[0].shape[1])

    def run(calls: int) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        for i in range(calls):
            torch.mm(firsts[i % len(firsts)], seconds[i % len(seconds)], out=out)
        torch.set_num_threads(before)

    return run


def _by_xla(lefts: np.ndarray, right: np.ndarray) -> Callable[[int], None]:
    """A compiled loop that keeps the last product alone."""
    # Keeps the memory order that it has here, so that a transposed factor costs the same.
    is_transposed = not lefts[0].flags.c_contiguous
    lefts = jnp.asarray(lefts.transpose(0, 2, 1) if is_transposed else lefts)
    right = jnp.asarray(right)
    out_shape = lefts.shape[2 if is_transposed else 1], right.shape[1]

    def product(i, _):
        left = lefts[i % len(lefts)]
        return (left.T if is_transposed else left) @ right

    @jax.jit
    def run(calls):
        return jax.lax.fori_loop(0, calls, product, jnp.zeros(out_shape))

    return lambda calls: run(calls).block_until_ready()


def adams(size: int) -> Iterator[tuple[str, Callable]]:
    """The candidates for Adam over all weights as one vector."""
    yield "PyTorch, fused", _adam_by_torch(size)
    yield "XLA", _adam_by_xla(size)


def _adam_by_torch(size: int) -> Callable[[int], None]:
    weights = torch.randn(size, requires_grad=True)
    weights.grad = torch.randn(size)
    betas = (BETA_1, BETA_2)
    adam = torch.optim.Adam([weights], LEARNING_RATE, betas, EPSILON, fused=True)

    def run(calls: int) -> None:
        for _ in range(calls):
            adam.step()

    return run


def _adam_by_xla(size: int) -> Callable[[int], None]:
    gradient = jnp.asarray(np.random.default_rng(0).standard_normal(size, np.float32))
    state = tuple(jnp.zeros(size) for _ in range(3))

    def sweep(i, state):
        weights, first, second = state
        first += (gradient - first) * (1 - BETA_1)
        second += (gradient * gradient - second) * (1 - BETA_2)
        rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2 ** (i + 1.0)) / (1 - BETA_1 ** (i + 1.0))
        return weights - rate * first / (jnp.sqrt(second) + EPSILON), first, second

    @jax.jit(donate_argnums=0)
    def sweeps(state, calls):
        return jax.lax.fori_loop(0, calls, sweep, state)

    def run(calls: int) -> None:
        nonlocal state
        state = jax.block_until_ready(sweeps(state, calls))

    return run


if __name__ == "__main__":
    main()
