"""What a step costs (operations, bytes) and what the hardware can do: counted and measured, not looked up."""

import platform
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Work:
    """Of one step."""

    flops: int  # floating point operations of convolutions and matrix products (a multiply-add is two)
    bytes: int  # read and written by all operations, each on its own: what fusion could save is in it


class _Bytes(TorchDispatchMode):
    """Adds up the sizes of what operations read and write; views move nothing."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            self.total += sum(x.numel() * x.element_size() for x in tensors)
        return out


def count_work(step: Callable[[], None]) -> Work:
    """Run a step once and count."""
    moved = _Bytes()
    with FlopCounterMode(display=False) as counter, moved:
        step()
    return Work(counter.get_total_flops(), moved.total)


def limits(precision: str, device: torch.device) -> tuple[float, float]:
    """Operations a second of a large matrix product in `precision`, bytes a second of a large copy."""
    side = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    a = torch.randn(side, side, device=device, dtype=dtype)
    product = _fastest(lambda: a @ a, device)
    source = torch.empty(2**28 if device.type == "cuda" else 2**25, device=device)
    copy = _fastest(source.clone, device)
    return 2 * side**3 / product, 2 * source.numel() * source.element_size() / copy


def _fastest(run: Callable[[], Any], device: torch.device, *, repeats: int = 5) -> float:
    """Seconds of the fastest of several calls after the first."""
    seconds = []
    for _ in range(repeats + 1):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def synchronize(device: torch.device) -> None:
    """Wait for what was started on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
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
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return platform.processor() or platform.machine()
