"""What a step costs (operations, bytes) and what the hardware can do: counted and measured, not looked up."""

import platform
import re
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class _Bytes(TorchDispatchMode):
    """Adds up the sizes of what operations read and write; views move nothing."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            self.total += sum(x.numel() * x.element_size() for x in tensors)
        return out


def count_work(step: Callable[[], None]) -> tuple[int, int]:
    """Run a step once. Floating point operations of its convolutions and matrix products (a multiply-add is
    two), and bytes that all operations read and write, each on its own: what fusion could save is in it.
    """
    moved = _Bytes()
    with FlopCounterMode(display=False) as counter, moved:
        step()
    return counter.get_total_flops(), moved.total


@cache
def limits(precision: str, device: torch.device) -> tuple[float, float]:
    """Operations a second of a large matrix product in `precision`, bytes a second of a large copy."""
    side = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    a = torch.randn(side, side, device=device, dtype=dtype)
    product = min(time_calls(lambda: a @ a, device, repeats=5))
    source = torch.empty(2**28 if device.type == "cuda" else 2**25, device=device)
    copy = min(time_calls(source.clone, device, repeats=5))
    return 2 * side**3 / product, 2 * source.numel() * source.element_size() / copy


def time_calls(run: Callable[[], Any], device: torch.device, *, repeats: int) -> list[float]:
    """Seconds of calls, after one that is not counted."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds = []
    for _ in range(repeats + 1):
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far (of the process on a CPU, where the kernel lets one)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):  # unlike getrusage's, this one can be reset
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def describe(device: torch.device) -> str:
    """Hardware and versions in one line."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}"
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        name = f"{found.name}, {found.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
    else:
        name = f"{_processor()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    return f"{name}; {versions}"


def _processor() -> str:
    with suppress(OSError, TypeError):  # no such file, no such line
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    return platform.processor() or platform.machine()
