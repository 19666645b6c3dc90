"""PyTorch DDP over gloo: each process trains on its slice of every batch.

The fused Adam, a single bucket that is also where the gradients lie, one thread for each core.
"""

import os

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.peers.torch_loop import adam, network
from benchmarks.work import Work, report


def main() -> None:
    work = Work.from_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    dist.init_process_group("gloo")
    rank, num_ranks = dist.get_rank(), dist.get_world_size()
    images, labels = (torch.from_numpy(array) for array in work.in_order(rank, num_ranks))
    labels = labels.long()
    model = nn.parallel.DistributedDataParallel(network(work), gradient_as_bucket_view=True)
    optimizer = adam(model)
    loss_fn = nn.CrossEntropyLoss()
    batch = work.global_batch_size // num_ranks

    def train(first_step: int, end_step: int) -> float:
        total = torch.zeros(())
        for i in range(first_step, end_step):
            part = slice(i * batch, (i + 1) * batch)
            optimizer.zero_grad(set_to_none=True)
            loss = loss_fn(model(images[part]), labels[part])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        dist.all_reduce(total)
        return float(total) / (end_step - first_step) / num_ranks

    report(work, train)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
