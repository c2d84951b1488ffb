"""What makes a training step fast on a GPU: compiled networks, and CUDA graphs.

At the paper's batch of 4 a GPU computes a step of T faster than Python can launch its kernels one by one:
they are recorded once and launched together. And most kernels are small operations on large activations,
which a compiler joins.
"""

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from hfld.models import Models

Function = Callable[..., tuple[Tensor, ...]]
"""Tensors of fixed shapes -> tensors, without a look at their values and without random numbers."""

WARM_UP = 3
"""Calls before recording, in which libraries choose their algorithms and take their memory."""


@contextmanager
def cuda_flags(precision: str) -> Iterator[None]:
    """Within: cuDNN tries its algorithms and keeps the fastest, and products and convolutions of float32 are
    rounded to TF32 unless `precision` is "fp32". Behind: as before, and what recorded steps held is free."""
    places = (
        (torch.backends.cudnn, "benchmark", True),
        (torch.backends.cudnn, "allow_tf32", precision != "fp32"),
        (torch.backends.cuda.matmul, "allow_tf32", precision != "fp32"),
    )
    before = [getattr(owner, name) for owner, name, _ in places]
    for owner, name, value in places:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(places, before, strict=True):
            setattr(owner, name, value)
        gc.collect()  # a recorded step and its module refer to each other
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def compile_models(models: Models) -> Models:
    """The same networks, joined by torch.compile when they are first called (a minute or two).

    For one shape each: a network that is called with another one is compiled again. Where that is impossible
    (no C compiler), it runs as it is, after a warning.
    """
    torch._dynamo.config.suppress_errors = True
    generator = copy.deepcopy(models.generator)  # its synthesis is compiled in place
    generator.synthesis.compile(dynamic=False)
    others = {name: network for name, network in models.networks().items() if name != "generator"}
    others = {name: torch.compile(network, dynamic=False) for name, network in others.items()}
    return replace(models, generator=generator, **others)


def capture(function: Function, *examples: Tensor) -> Function:
    """`function`, whose outputs the next call overwrites; nothing can be differentiated through it."""
    places = [example.clone() for example in examples]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            function(*places)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = function(*places)

    def replay(*values: Tensor) -> tuple[Tensor, ...]:
        for place, value in zip(places, values, strict=True):
            place.copy_(value)
        graph.replay()
        return out

    return replay


def capture_with_gradient(function: Function, trained: nn.Module, *examples: Tensor) -> Function:
    """`function` and, as a second graph, its gradient with respect to the parameters of `trained`.

    So `backward()` works as ever, on outputs that are used before the next call.
    """
    # The parameters of `trained` have been used on another stream before, in the warm-up: no fault.
    if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):  # since torch 2.10
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    return torch.cuda.make_graphed_callables(_Called(function, trained), examples, num_warmup_iters=WARM_UP)


def capture_on_first_call(function: Function, *, trained: nn.Module | None = None) -> Function:
    """`function`, recorded (with the gradient of `trained`, if given) when it is called first.

    So a checkpoint can be loaded before; all calls need the shapes of the first.
    """
    made: list[Function] = []

    def call(*values: Tensor) -> tuple[Tensor, ...]:
        if not made:
            if trained is None:
                made.append(capture(function, *values))
            else:
                made.append(capture_with_gradient(function, trained, *values))
        return made[0](*values)

    return call


class _Called(nn.Module):
    """A function as a module that owns the parameters it uses."""

    def __init__(self, function: Function, trained: nn.Module) -> None:
        super().__init__()
        self.function, self.trained = function, trained

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        return self.function(*values)
