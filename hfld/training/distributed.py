"""Data-parallel training under torchrun: each process takes its share of a batch, gradients are averaged."""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Team:
    """The processes that train together; all draw the same random numbers and use their own rows of them."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This process's share of a batch of `count`: every size-th sample, so that D's groups stay whole."""
        if count % self.size:
            raise ValueError(f"batch: {count}, expected a multiple of the {self.size} processes")
        return slice(self.rank, count, self.size)

    def mean(self, value: Tensor) -> Tensor:
        """The average of a tensor over the processes, the same in each of them."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    def average_gradients(self, module: nn.Module) -> None:
        """Give every process the average of the gradients of the module's parameters."""
        for parameter in module.parameters() if self.size > 1 else ():
            parameter.grad = self.mean(parameter.grad)

    def share(self, value: Tensor) -> Tensor:
        """The leader's tensor, in each of the processes: what each computes may differ by rounding."""
        if self.size > 1:
            value = value.contiguous()
            dist.broadcast(value, src=0)
        return value


ALONE = Team()


def join(device: torch.device) -> Team:
    """The team that torchrun has started (its environment says so), or this process alone; one GPU each."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Team(dist.get_rank(), size)


def leave(team: Team) -> None:
    """Wait for the others and take the connection down."""
    if team.size > 1:
        dist.barrier()
        dist.destroy_process_group()
