"""PyTorch: the training loop of its tutorials on tensors in memory, eager or compiled.

Adam is the fused one, batches are views, gradients are set to None, and threads are as many as cores.
The losses are summed as a tensor, so that no step waits for a number.

Compiled are the network, its loss and their gradients. With the optimizer compiled too, a first look at
batch 64 found it slower, both with the fused Adam and with the one Inductor fuses itself; `cpp_wrapper`
was slightly faster than Inductor's Python wrapper.
"""

import os
import sys

import torch
from torch import nn

from benchmarks.work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Work, report


def main() -> None:
    work = Work.from_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    images, labels = (torch.from_numpy(array) for array in work.in_order())
    labels = labels.long()
    model = network(work)
    optimizer = adam(model)
    loss_fn = nn.CrossEntropyLoss()

    def batch_loss(batch_images, batch_labels):
        return loss_fn(model(batch_images), batch_labels)

    if sys.argv[2] == "compile":
        batch_loss = torch.compile(batch_loss, options={"cpp_wrapper": True})

    def train_step(batch_images, batch_labels):
        optimizer.zero_grad(set_to_none=True)
        loss = batch_loss(batch_images, batch_labels)
        loss.backward()
        optimizer.step()
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


def adam(model: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(
        model.parameters(), lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True
    )


if __name__ == "__main__":
    main()
