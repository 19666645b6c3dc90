"""PyTorch on the nets that are not dense: the loop of `torch_loop.py`, eager or compiled.

The nets are those of `benchmarks/recipes/nets.py` in PyTorch's own layers, whose first weights differ.
Where a layer computes something else by default it is set to what Keras computes.
"""

import os
import sys

import torch
from torch import nn

from benchmarks.peers.torch_loop import adam
from benchmarks.recipes import nets
from benchmarks.work import Work, report


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, nets.WIDTH, nets.PATCH, stride=nets.PATCH)
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    nets.WIDTH, nets.HEADS, 2 * nets.WIDTH, 0.0, batch_first=True, norm_first=True
                )
                for _ in range(nets.LAYERS)
            )
        )
        self.norm = nn.LayerNorm(nets.WIDTH)
        self.logits = nn.Linear(nets.WIDTH, 10)

    def forward(self, images):
        sequence = self.patches(images.view(-1, 1, 28, 28)).flatten(2).transpose(1, 2)
        return self.logits(self.norm(self.layers(sequence)).mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.GRU(28, nets.UNITS, batch_first=True)
        self.logits = nn.Linear(nets.UNITS, 10)

    def forward(self, images):
        return self.logits(self.rows(images.view(-1, 28, 28))[0][:, -1])


def network(name: str) -> nn.Module:
    if name == "transformer":
        return Transformer()
    if name == "gru":
        return Recurrent()
    is_norm = name == "cnn_norm"
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 28, 28))]
    for before, filters in ((1, 32), (32, 64)):
        layers.append(nn.Conv2d(before, filters, 3, padding="same", bias=not is_norm))
        if is_norm:
            layers.append(nn.BatchNorm2d(filters, eps=0.001, momentum=0.01))
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    layers.append(nn.Flatten())
    if is_norm:
        return nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(7 * 7 * 64, 10))
    return nn.Sequential(*layers, nn.Linear(7 * 7 * 64, 128), nn.ReLU(), nn.Linear(128, 10))


def main() -> None:
    work = Work.from_args()
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    images, labels = (torch.from_numpy(array) for array in work.in_order())
    labels = labels.long()
    model = network(sys.argv[2])
    optimizer = adam(model)
    loss_fn = nn.CrossEntropyLoss()

    def batch_loss(batch_images, batch_labels):
        return loss_fn(model(batch_images), batch_labels)

    if sys.argv[3] == "compile":
        batch_loss = torch.compile(batch_loss)

    def train(first_step: int, end_step: int) -> float:
        total = torch.zeros(())
        for step in range(first_step, end_step):
            part = slice(step * work.global_batch_size, (step + 1) * work.global_batch_size)
            optimizer.zero_grad(set_to_none=True)
            loss = batch_loss(images[part], labels[part])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return float(total) / (end_step - first_step)

    report(work, train)


if __name__ == "__main__":
    main()
