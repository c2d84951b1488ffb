"""How fast a training step of T is, what it takes, and how far that is from what the hardware can do.

    python -m tools.step_speed ffhq256 --batches 4 16 64

Networks have a profile's sizes and random weights: no file is needed. The first row is the baseline's own
way, which takes gradients of all networks' weights as well; the second a plain fp32 loop at batch 4, which
speed is counted from; each following one adds something to the one before; then come the batches. Work is
counted (operations of convolutions and products, bytes that the operations read and write), the hardware's
limits are measured (a large product, a large copy). Writes steps.csv and steps.md.
"""

import argparse
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import nan
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from hfld.attributes import ATTRIBUTES
from hfld.config import ROOT, DirectionsConfig, load_profile
from hfld.directions import DirectionMatrix
from hfld.images import write_text
from hfld.losses import total_loss
from hfld.models import Models, pick_device, reuse_memory
from hfld.networks.resized import resized
from hfld.networks.resnet import ResNet
from hfld.networks.stylegan2 import CONFIG_F, Discriminator, Generator
from hfld.networks.vgg import VGG19Features
from hfld.training.directions import BETAS
from hfld.training.graphs import capture, compile_models
from hfld.training.objective import loss_terms, term_weights, unedited_batch
from tools.hardware import count_work, describe, limits, peak_memory, reset_peak_memory, time_calls

COLUMNS = list(range(len(ATTRIBUTES)))
PLAIN = "plain fp32 loop"
Step = Callable[[Tensor, Tensor], None]
"""Latents (or places in the pool) and random changes [N, 40] -> updates of T."""
MEASURED = ("seconds", "samples_per_s", "peak_gb", "tflop", "gb_moved", "peak_tflop_per_s", "peak_gb_per_s")


@dataclass(frozen=True)
class Setting:
    """One way of doing the same step."""

    name: str
    batch: int = 4
    frozen: bool = True  # no gradients of the networks' weights
    precision: str = "fp32"  # "fp32" | "tf32" (CUDA) | "bf16"
    channels_last: bool = False  # R, F, D and H; G's activations always are
    autotuned: bool = False  # cuDNN tries its algorithms and keeps the fastest (CUDA)
    keep_memory: bool = False  # hfld.models.reuse_memory (CPU); once set it stays for the later rows
    pool: bool = False  # G(w), R(G(w)) and H(G(w)) are kept, not made in every step
    compiled: bool = False  # torch.compile
    graphs: bool = False  # CUDA graphs
    every: int = 1  # updates that are timed together, of which the first has D's and F's terms


def settings_to_time(kind: str, batches: Sequence[int]) -> list[Setting]:
    """The baseline's way, the plain loop at batch 4, what is added one by one, everything at each batch."""
    on_gpu = kind == "cuda"
    found = [Setting("gradients of all weights", frozen=False), Setting(PLAIN)]

    def add(name: str, **changes: Any) -> None:
        found.append(replace(found[-1], name=name, **changes))

    add("channels last", channels_last=True)
    if on_gpu:
        add("tf32", precision="tf32")
    add("bf16", precision="bf16")
    if on_gpu:
        add("autotuned", autotuned=True)
        add("CUDA graphs", graphs=True)
        add("compiled", compiled=True)
    else:
        add("memory kept", keep_memory=True)  # and not compiled: that takes longer than it saves
    fast = found[-1]
    add("pooled originals", pool=True)
    add("D and F at every fifth step", every=5)  # as the portraits train, not the paper
    for batch, precision in itertools.product(batches, ("tf32", "bf16") if on_gpu else ("bf16",)):
        if (batch, precision) != (fast.batch, fast.precision):
            found.append(replace(fast, name=f"batch {batch}, {precision}", batch=batch, precision=precision))
    return found


def random_models(*, size: int, width: int, read_at: int | None, device: torch.device) -> Models:
    """G, D, R, F and H as the paper has them at width 64, with random weights."""
    channels = {side: max(4, count * width // 64) for side, count in CONFIG_F.items() if side <= size}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Models(
            generator=Generator(size=size, w_dim=8 * width, z_dim=8 * width, channels=channels),
            discriminator=Discriminator(size=size, channels=channels),
            regressor=resized(ResNet(depth=50, width=width, outputs=40, sigmoid=True), read_at),
            perceptual=resized(VGG19Features(width=width), read_at),
            landmarks=resized(ResNet(depth=18, width=width, outputs=212), read_at),
            device=device,
        )


def new_matrix(models: Models) -> DirectionMatrix:
    """T as a training starts from it."""
    rows, w_dim = models.generator.num_ws, models.generator.w_dim
    return DirectionMatrix(attributes=len(COLUMNS), rows=rows, w_dim=w_dim, seed=1).to(models.device)


def weight_schedule(weights: Mapping[str, float], every: int) -> list[dict[str, float]]:
    """Weights of the terms in `every` updates: D's and F's come in the first alone, with all their weight."""
    rare = {name: every * weights[name] for name in ("adversarial", "content") if name in weights}
    rest = {name: weight for name, weight in weights.items() if name not in rare}
    return [rest | rare] + (every - 1) * [rest]


def make_step(
    models: Models, matrix: DirectionMatrix, config: DirectionsConfig, setting: Setting
) -> tuple[Step, Tensor, Tensor]:
    """The step, `setting.every` updates of `matrix`, and what to call it with."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(setting.batch, models.z_dim, generator=generator).to(models.device)
    changes = (2 * torch.rand(setting.batch, len(COLUMNS), generator=generator) - 1).to(models.device)
    precision = "bf16" if setting.precision == "bf16" else "fp32"
    config = replace(config, precision=precision, batch=setting.batch)
    schedule = weight_schedule(term_weights(config), setting.every)
    optimizer = torch.optim.Adam(matrix.parameters(), lr=config.lr, betas=BETAS, capturable=setting.graphs)
    unedit = functools.partial(unedited_batch, models, columns=COLUMNS, precision=precision)
    pool = unedit(latents) if setting.pool else None

    def update(z: Tensor, changes: Tensor, weights: Mapping[str, float]) -> None:
        optimizer.zero_grad(set_to_none=not setting.graphs)
        unedited = unedit(z) if pool is None else pool[z]
        target = (unedited.scores + changes).clamp(0, 1)
        delta, due = target - unedited.scores, tuple(weights)
        terms = loss_terms(models, matrix, unedited, delta, target, columns=COLUMNS, config=config, terms=due)
        total, _ = total_loss(terms, weights)
        total.backward()
        optimizer.step()

    def step(z: Tensor, changes: Tensor) -> None:
        for weights in schedule:
            update(z, changes, weights)

    places = torch.arange(setting.batch, device=models.device) if setting.pool else latents
    return step, places, changes


def prepare(models: Models, setting: Setting) -> Models:
    """The networks as `setting` wants them."""
    if setting.keep_memory:
        reuse_memory()
    layout = torch.channels_last if setting.channels_last else torch.contiguous_format
    for name, network in models.networks().items():
        network.requires_grad_(not setting.frozen)
        if name != "generator":
            network.to(memory_format=layout)
    return compile_models(models) if setting.compiled else models


def measure(models: Models, config: DirectionsConfig, setting: Setting, *, repeats: int) -> dict[str, float]:
    """Of an update: seconds (median), samples a second, peak memory, work, and the hardware's limits. Of what
    is compiled no work is counted.
    """
    device = torch.device(models.device)
    tf32 = setting.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = setting.autotuned
    models = prepare(models, setting)
    step, *inputs = make_step(models, new_matrix(models), config, setting)
    reset_peak_memory(device)  # before anything is recorded: what a graph holds is not counted later
    flops, moved = (nan, nan) if setting.compiled else count_work(lambda: step(*inputs))  # warms up as well
    if setting.graphs:
        step = capture(step, *inputs)
    seconds = median(time_calls(lambda: step(*inputs), device, repeats=repeats)) / setting.every
    peak_gb = peak_memory(device) / 1e9
    flops_per_s, bytes_per_s = limits(setting.precision, device)
    return {
        "seconds": seconds,
        "samples_per_s": setting.batch / seconds,
        "peak_gb": peak_gb,
        "tflop": flops / setting.every / 1e12,
        "gb_moved": moved / setting.every / 1e9,
        "peak_tflop_per_s": flops_per_s / 1e12,
        "peak_gb_per_s": bytes_per_s / 1e9,
    }


def measure_all(
    name: str,  # of a profile
    *,
    batches: Sequence[int],
    width: int,
    repeats: int,
    only: Sequence[str] = (),  # names of settings; none: all
    device: torch.device,
) -> pd.DataFrame:
    """One row per setting; one that fails (memory, no compiler) has the reason instead of numbers.

    `share_compute`, `share_memory`: the part of its time that its products or copies alone would take.
    """
    profile = load_profile(name)
    config = replace(profile.directions, attributes="all")
    sizes = {"size": profile.world.size, "width": width, "read_at": profile.world.read_at, "device": device}
    rows = []
    for setting in (s for s in settings_to_time(device.type, batches) if not only or s.name in only):
        row: dict[str, Any] = {**asdict(setting), **dict.fromkeys(MEASURED, nan), "reason": ""}
        try:
            row |= measure(random_models(**sizes), config, setting, repeats=repeats)
        except Exception as error:  # another row may work where this one does not
            row["reason"] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        print(f"{setting.name}: {row['samples_per_s']:.3g} samples/s {row['reason']}", flush=True)
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame["speedup"] = frame["samples_per_s"] / frame.loc[frame["name"] == PLAIN, "samples_per_s"].mean()
    frame["share_compute"] = frame["tflop"] / frame["peak_tflop_per_s"] / frame["seconds"]
    frame["share_memory"] = frame["gb_moved"] / frame["peak_gb_per_s"] / frame["seconds"]
    return frame


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.step_speed", description=__doc__.split("\n")[0])
    parser.add_argument("profile")
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--width", type=int, default=64, help="of the networks; 64 is the paper's")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=[], help="names of settings")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "step_speed")
    options = vars(parser.parse_args(arguments))
    name, out, device = options.pop("profile"), options.pop("out"), pick_device("auto")
    frame = measure_all(name, **options, device=device)
    about = f"{describe(device)}; width {options['width']}, median of {options['repeats']} steps."
    named = [field.name for field in fields(Setting)[2:]]  # the first column says it in words
    table = frame.drop(columns=named).to_markdown(index=False, floatfmt=".3g")
    text = f"### A training step of T, {name}\n\n{about}\n\n{table}\n"
    write_text(out / "steps.csv", frame.to_csv(index=False))
    write_text(out / "steps.md", text)
    print(text)


if __name__ == "__main__":
    main()
