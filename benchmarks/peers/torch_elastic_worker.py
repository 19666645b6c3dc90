"""One worker under torchrun: 784-128-10, Adam, 64 examples a step over both, gloo."""

import os
import pathlib
import sys

import torch
import torch.distributed as dist
from torch import nn

_SAVE_EVERY = 100


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    (folder / f"pid-{rank}").write_text(str(os.getpid()))
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(
        nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)),
        gradient_as_bucket_view=True,
    )
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    images, labels = torch.rand(64 // ranks, 784), torch.arange(64 // ranks) % 10
    step, saved = 0, folder / "checkpoint.pt"
    if saved.exists():
        state = torch.load(saved)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
        print(f"resuming at step {step}", flush=True)
    while True:
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        step += 1
        print(f"step {step} loss {loss.item():.4f}", flush=True)
        if rank == 0 and step % _SAVE_EVERY == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            torch.save(state, saved.with_suffix(".new"))
            os.replace(saved.with_suffix(".new"), saved)


if __name__ == "__main__":
    main()
