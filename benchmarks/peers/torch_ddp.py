"""PyTorch DDP over gloo: each process trains on its slice of every batch, with one thread for each core.

Its options, which `python -m benchmarks.ways torch_ddp` tries: gradients as views of the buckets, a
`static_graph`, the megabytes of a bucket (all 407 kB of gradients are in one by default; 0.1 makes two
or three), and a compiled network. `net`: one of `benchmarks/recipes/nets.py` in place of the dense one.
"""

import os

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.peers import torch_nets
from benchmarks.peers.torch_loop import adam, network
from benchmarks.work import Work, options, report


def main() -> None:
    work = Work.from_args()
    way = options(
        gradient_as_bucket_view=True, static_graph=False, bucket_cap_mb=25, compile=False, net=""
    )
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)  # The nets but the dense one draw their first weights.
    dist.init_process_group("gloo")
    rank, num_ranks = dist.get_rank(), dist.get_world_size()
    images, labels = (torch.from_numpy(array) for array in work.in_order(rank, num_ranks))
    labels = labels.long()
    model = nn.parallel.DistributedDataParallel(
        torch_nets.network(way.net) if way.net else network(work),
        gradient_as_bucket_view=way.gradient_as_bucket_view,
        static_graph=way.static_graph,
        bucket_cap_mb=way.bucket_cap_mb,
    )
    optimizer = adam(model)
    forward = torch.compile(model) if way.compile else model
    loss_fn = nn.CrossEntropyLoss()
    batch = work.global_batch_size // num_ranks

    def train(first_step: int, end_step: int) -> float:
        total = torch.zeros(())
        for i in range(first_step, end_step):
            part = slice(i * batch, (i + 1) * batch)
            optimizer.zero_grad(set_to_none=True)
            loss = loss_fn(forward(images[part]), labels[part])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        dist.all_reduce(total)
        return float(total) / (end_step - first_step) / num_ranks

    report(work, train)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
