"""PyTorch: the training loop of its tutorials on tensors in memory, eager or compiled.

Batches are views, gradients are set to None, and the losses are summed as a tensor, so that no step
waits for a number. Its options, which `python -m benchmarks.ways torch_loop` tries: Adam `fused`,
`foreach` or as PyTorch chooses; threads, as many as cores where 0; `compile=true` for the network, its
loss and their gradients, `all` for the optimizer, too; and Inductor's `mode`, without which it is
`cpp_wrapper`. At batch 64 a compiled optimizer was slower, both the fused one and the one that Inductor
fuses itself, and `cpp_wrapper` slightly faster than Inductor's Python wrapper.
"""

import os

import torch
from torch import nn

from benchmarks.work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Work, options, report


def main() -> None:
    work = Work.from_args()
    way = options(compile=False, mode="", adam="fused", threads=0)
    torch.set_num_threads(way.threads or len(os.sched_getaffinity(0)))
    images, labels = (torch.from_numpy(array) for array in work.in_order())
    labels = labels.long()
    model = network(work)
    optimizer = adam(model, way.adam)
    loss_fn = nn.CrossEntropyLoss()

    def batch_loss(batch_images, batch_labels):
        return loss_fn(model(batch_images), batch_labels)

    update = optimizer.step
    if way.compile:
        settings = {} if way.mode else {"options": {"cpp_wrapper": True}}
        batch_loss = torch.compile(batch_loss, mode=way.mode or None, **settings)
        if way.compile == "all":
            update = torch.compile(update)

    def train_step(batch_images, batch_labels):
        optimizer.zero_grad(set_to_none=True)
        loss = batch_loss(batch_images, batch_labels)
        loss.backward()
        update()
        return loss.detach()

    def train(first_step: int, end_step: int) -> float:
        total = torch.zeros(())
        for i in range(first_step, end_step):
            part = slice(i * work.global_batch_size, (i + 1) * work.global_batch_size)
            total += train_step(images[part], labels[part])
        return float(total) / (end_step - first_step)

    report(work, train)


def network(work: Work) -> nn.Module:
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), work.first_weights(), strict=True):
            parameter.copy_(torch.from_numpy(weight.T))
    return model


def adam(model: nn.Module, kind: str = "fused") -> torch.optim.Adam:
    """`kind`: "fused", "foreach", or "" for PyTorch's default."""
    return torch.optim.Adam(
        model.parameters(), lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON,
        **({kind: True} if kind else {}),
    )  # fmt: skip


if __name__ == "__main__":
    main()
