"""Train the portraits generator: paired, G(z) against the render of z, then with a discriminator as well.

    python -m pretrain.generator --data runs/pretrain/sets/... --run runs/pretrain/generator --minutes 60
    python -m pretrain.generator --data ... --run runs/pretrain/adversarial --phase adversarial \\
        --start runs/pretrain/generator/checkpoint.pt --minutes 30

The data folders hold z.npy (float32 [N, z_dim]) and images.npy (uint8 [N, S, S, 3]); sampling.npy ([N])
draws rare portraits more often.
Options come from pretrain/params.yaml (world.size, generator) and from the command line, which wins.
Progress is measured in training time: the learning rate has reached zero when the budget ends, however
busy the machine was; an interrupted run continues.
"""

import argparse
import csv
import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from hfld.checkpoints import load_network, save_network
from hfld.config import ROOT
from hfld.images import replacing
from hfld.models import autocast, reuse_memory
from hfld.networks.stylegan2 import Discriminator, Generator
from pretrain.muon import Muon
from pretrain.paired import (
    Portraits,
    contrast_map,
    perceptual_loss,
    reconstruction_loss,
    sample_grid,
    tutor_loss,
    write_png,
)

DEFAULTS = {
    "size": 64,  # world.size of pretrain/params.yaml, where there is one
    "z_dim": 80,
    "w_dim": 256,
    "mapping_layers": 4,
    "mapping_features": 512,
    "mapping_lr": 1.0,  # at 0.1 and 0.01 the paired training learns several times more slowly
    "channels": {4: 192, 8: 192, 16: 128, 32: 96, 64: 48, 128: 32},
    "stages": {16: 0.15, 32: 0.25, 64: 0.6},  # resolution: share of the time
    "batch": 32,  # per step, over all workers
    "lr": 2.5e-3,  # Adam's
    "muon_lr": 5.0e-3,  # of matrices and kernels; 0: Adam for all
    "mapping_muon_lr": 1.0e-2,
    "beta1": 0.9,
    "warmup": 200,  # steps
    "ema_images": 5000,  # half-life of the averaged weights
    "pixel": 1.0,  # weights of the loss terms
    "detail": 1.0,
    "square": 4.0,
    "perceptual": 0.0,
    "tutor": 4.0,
    "emotion": 0.4,  # of the tutor's reading
    "contrast_weight": 3.0,  # extra weight of a pixel where much happens
    "adversarial": 0.01,
    "d_lr": 2.5e-3,  # the discriminator's
    "r1": 1.0,
    "validation": 512,  # the last ones of the data
    "seed": 1,
}
MAY_CHANGE = {"minutes", "log_seconds", "save_seconds", "note"}
"""What may differ between a checkpoint's config and that of the run that continues it."""


def stage_size(progress: float, stages: dict[int, float]) -> tuple[int, float]:
    """Resolution at this progress, and the progress within its stage.  Both in [0, 1] -> (size, part)"""
    total, begin = sum(stages.values()), 0.0
    for size, share in stages.items():
        end = begin + share / total
        if progress < end or size == list(stages)[-1]:
            return size, min(1.0, (progress - begin) / (end - begin))
        begin = end
    raise AssertionError(stages)


def learning_rate(progress: float, step_of_stage: int, config: dict) -> float:
    """Factor on lr: linear warm-up in each stage; a cosine to zero over most of the last stage."""
    size, part = stage_size(progress, config["stages"])
    factor = min(1.0, (step_of_stage + 1) / config["warmup"])
    if size == list(config["stages"])[-1]:
        factor *= 0.5 * (1 + math.cos(math.pi * max(0.0, part - 0.2) / 0.8))
    return factor


def ema_update(average: nn.Module, model: nn.Module, batch: int, images: int, half_life: float) -> None:
    """Exponential moving average; its half-life grows with the images seen: the start is forgotten."""
    decay = 0.5 ** (batch / max(min(half_life, 0.1 * images), 1.0))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def mean_gradients(parameters: list[nn.Parameter], message: float) -> float:
    """Average gradients over the workers; also carries the first worker's `message` to all of them."""
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat(
        [g.reshape(-1) for g in grads] + [torch.tensor([message if dist.get_rank() == 0 else 0.0])]
    )
    dist.all_reduce(flat)
    message = float(flat[-1])
    flat /= dist.get_world_size()
    begin = 0
    for g in grads:
        g.copy_(flat[begin : begin + g.numel()].view_as(g))
        begin += g.numel()
    return message


def matrices(generator: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that Muon trains (weights of linear layers, 3x3 kernels), and the others."""
    kernels, others = [], []
    for name, parameter in generator.named_parameters():
        matrix = parameter.ndim == 2 or (parameter.ndim == 4 and parameter.shape[-1] == 3)
        (kernels if matrix and name != "synthesis.constant" else others).append(parameter)
    return kernels, others


def distil(teacher: nn.Module, pupil: nn.Module, z_dim: int, *, steps: int = 2500) -> float:
    """Teach a mapping network another one's w; returns the share of the variance that is left."""
    optimizer = torch.optim.Adam(pupil.parameters(), lr=5e-3, fused=True)
    draws = torch.Generator().manual_seed(0)
    for step in range(steps):
        z = torch.randn(256, z_dim, generator=draws)
        with torch.no_grad():
            expected = teacher(z)
        error = (pupil(z) - expected).square().mean()
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / steps)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    return float(error.detach() / expected.var(dim=0).mean())


class Run:
    """Everything that a checkpoint holds."""

    def __init__(self, config: dict, device: str, adversarial: bool) -> None:
        torch.manual_seed(config["seed"])
        shape = {"size": config["size"], "channels": config["channels"]}
        keys = ("z_dim", "w_dim", "mapping_layers", "mapping_features", "mapping_lr")
        self.arguments = {**shape, **{key: config[key] for key in keys}, "normalize_z": False}
        self.g, self.average = Generator(**self.arguments).to(device), Generator(**self.arguments).to(device)
        first = min(config["stages"])
        for to_rgb, side in zip(self.g.synthesis.to_rgbs, (4 * 2**k for k in range(99)), strict=False):
            if side > first:  # a new level enters silently
                nn.init.zeros_(to_rgb.weight)
        self.average.load_state_dict(self.g.state_dict())
        self.d = Discriminator(**shape).to(device) if adversarial else None
        kernels, others = matrices(self.g) if config["muon_lr"] else ([], list(self.g.parameters()))
        betas = (0.0 if adversarial else config["beta1"], 0.99)
        self.optimizer = torch.optim.Adam(others, lr=config["lr"], betas=betas, fused=True)
        self.muon = Muon(kernels, lr=config["muon_lr"]) if kernels else None
        if kernels:
            mapping = {id(p) for p in self.g.mapping.parameters()}
            groups = [[p for p in kernels if (id(p) in mapping) == inside] for inside in (True, False)]
            rates = (config["mapping_muon_lr"], config["muon_lr"])
            self.muon = Muon([{"params": p, "lr": lr} for p, lr in zip(groups, rates, strict=True)], lr=0.0)
        self.d_optimizer = None
        if self.d is not None:
            self.d_optimizer = torch.optim.Adam(
                self.d.parameters(), lr=config["d_lr"], betas=(0.0, 0.99), fused=True
            )
        self.step, self.stage_step, self.images, self.seconds, self.stage = 0, 0, 0, 0.0, 0

    def parts(self) -> dict:
        named = {"g": self.g, "average": self.average, "d": self.d}
        named |= {"optimizer": self.optimizer, "muon": self.muon, "d_optimizer": self.d_optimizer}
        return {name: part for name, part in named.items() if part is not None}

    def save(self, path: Path, config: dict) -> None:
        """FloatingPointError if a weight is not finite: the file that is there stays."""
        for name in ("g", "average", "d"):
            for key, value in self.parts()[name].state_dict().items() if name in self.parts() else ():
                if not torch.isfinite(value).all():
                    raise FloatingPointError(
                        f"after step {self.step} {name}.{key} is not finite; {path} is the last good state"
                    )
        counters = {k: getattr(self, k) for k in ("step", "stage_step", "images", "seconds", "stage")}
        saved = {name: part.state_dict() for name, part in self.parts().items()}
        saved |= {"counters": counters, "rng": torch.get_rng_state(), "config": json.dumps(config)}
        with replacing(path) as temporary:
            torch.save(saved, temporary)

    def load(self, path: Path, config: dict) -> None:
        """ValueError if the checkpoint was made under another config, but for MAY_CHANGE."""
        saved = torch.load(path, map_location="cpu", weights_only=True)
        old, new = json.loads(saved["config"]), json.loads(json.dumps(config))
        different = [
            f"{key}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} asked"
            for key in sorted((old.keys() | new.keys()) - MAY_CHANGE)
            if old.get(key, "absent") != new.get(key, "absent")
        ]
        if different:
            raise ValueError(
                f"{path} holds a run made under other parameters; use another folder or delete it. "
                f"Different: {'; '.join(different)}"
            )
        for name, part in self.parts().items():
            part.load_state_dict(saved[name])
        for name, value in saved["counters"].items():
            setattr(self, name, value)
        torch.set_rng_state(saved["rng"])

    def start_from(self, path: Path) -> None:
        """Weights of another run: the averaged generator, and the discriminator where it has one.

        A `generator.safetensors` may have another mapping network; ours learns its w first. A
        `discriminator.safetensors` beside the path is taken as well.
        """
        beside = path.with_name("discriminator.safetensors")
        if self.d is not None and beside.is_file():
            self.d.load_state_dict(load_network(beside).state_dict())
        if path.suffix == ".safetensors":
            old = load_network(path)
            self.g.synthesis.load_state_dict(old.synthesis.state_dict())
            shapes, known = (
                {key: value.shape for key, value in g.mapping.state_dict().items()} for g in (self.g, old)
            )
            if shapes == known:
                self.g.mapping.load_state_dict(old.mapping.state_dict())
            else:
                left = distil(old.mapping, self.g.mapping, old.z_dim)
                print(f"mapping network: {left:.3f} of the variance of {path}'s w is not learned", flush=True)
            self.average.load_state_dict(self.g.state_dict())
            return
        saved = torch.load(path, map_location="cpu", weights_only=True)
        self.g.load_state_dict(saved["average"])
        self.average.load_state_dict(saved["average"])
        if self.d is not None and "d" in saved:
            self.d.load_state_dict(saved["d"])


def discriminator_step(
    run: Run, fake: Tensor, real: Tensor, config: dict, precision: Callable[[], AbstractContextManager]
) -> dict[str, Tensor]:
    """Non-saturating logistic loss with R1 every 16 steps (StyleGAN2, appendix B).  Leaves gradients in D."""
    run.d_optimizer.zero_grad(set_to_none=True)
    with precision():
        terms = {"d": F.softplus(run.d(fake)).mean() + F.softplus(-run.d(real)).mean()}
    total = terms["d"]
    if run.step % 16 == 0:
        real = real.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(run.d(real).sum(), real, create_graph=True)
        terms["r1"] = gradient.square().sum(dim=(1, 2, 3)).mean()
        total = total + terms["r1"] * (config["r1"] / 2 * 16)
    total.backward()
    return {key: value.detach() for key, value in terms.items()}


def validate(
    run: Run,
    data: Portraits,
    size: int,
    device: str,
    precision: Callable[[], AbstractContextManager],
    grid: Path,
) -> dict[str, float]:
    """L1 in [0, 255] levels and detail on held-out pairs, by the averaged weights; writes the sample grid."""
    sums, seen, shown = {"l1": 0.0, "detail": 0.0}, 0, []
    with torch.no_grad(), precision():
        for begin in range(0, len(data.validation), 64):
            z, image = data.batch(data.validation[begin : begin + 64], size, device)
            made = run.average(z, noise="none", size=size).float()
            sums["l1"] += float((made.clamp(-1, 1) - image).abs().mean()) * 127.5 * len(z)
            sums["detail"] += float(reconstruction_loss(made, image)["detail"]) * len(z)
            seen += len(z)
            shown.append((image, made)) if begin == 0 else None
    write_png(grid, sample_grid(*shown[0]))
    return {f"validation_{key}": value / max(seen, 1) for key, value in sums.items()}


def train(rank: int, workers: int, config: dict, paths: dict[str, str | None]) -> None:
    """The loop of one worker; all of them hold the same weights and see different images."""
    reuse_memory()
    adversarial = config["phase"] == "adversarial"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if workers > 1:
        torch.set_num_threads(1)
        store = f"file://{Path(paths['run']).resolve()}/rendezvous"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=workers)
    run_dir, budget = Path(paths["run"]), config["minutes"] * 60
    checkpoint = run_dir / "checkpoint.pt"
    inputs = {**config, "data": paths["data"], "start": paths["start"]}
    data = Portraits([Path(folder) for folder in paths["data"]], config["validation"])
    run = Run(config, device, adversarial)
    if checkpoint.is_file():
        run.load(checkpoint, inputs)
    elif paths["start"]:
        run.start_from(Path(paths["start"]))
    features = tutor = None
    if config["perceptual"] > 0:
        features = load_network(Path(paths["features"]), device=device)
    if config["tutor"] > 0:
        tutor = load_network(Path(paths["tutor"]), device=device)
    precision = autocast("fp32" if config["fp32"] else "auto", device)
    share = config["batch"] // workers
    parameters = list(run.g.parameters())
    progress, window, last = run.seconds / budget, [], time.monotonic()
    next_log, next_save = run.seconds + config["log_seconds"], run.seconds + config["save_seconds"]
    logged = (run.images, run.seconds)
    while progress < 1:
        size, _ = stage_size(progress, config["stages"])
        if size != run.stage:
            run.stage, run.stage_step = size, 0
        factor = learning_rate(progress, run.stage_step, config)
        index = data.indices(run.step, config["batch"], config["seed"])[rank * share : (rank + 1) * share]
        z, image = data.batch(index, size, device)
        weight = 1 + config["contrast_weight"] * contrast_map(image) if config["contrast_weight"] else None

        run.g.zero_grad(set_to_none=True)
        with precision():
            made = run.g(z, noise="none", size=size).float()
        raw = reconstruction_loss(made, image, weight)
        if features is not None and size == config["size"]:
            with precision():
                raw["perceptual"] = perceptual_loss(features, made, image)
        if adversarial:
            run.d.requires_grad_(False)
            with precision():
                raw["adversarial"] = F.softplus(-run.d(made)).mean()
            run.d.requires_grad_(True)
        if tutor is not None and size == config["size"]:
            with precision():
                raw |= tutor_loss(tutor, made, image)
        total = sum(config[key] * value for key, value in raw.items())
        total.backward()
        progress = run.seconds / budget
        if workers > 1:  # the first worker's clock counts for all
            progress = mean_gradients(parameters, progress)
        run.optimizer.param_groups[0]["lr"] = config["lr"] * factor
        run.optimizer.step()
        if run.muon is not None:
            for group, key in zip(run.muon.param_groups, ("mapping_muon_lr", "muon_lr"), strict=True):
                group["lr"] = config[key] * factor
            run.muon.step()
        terms = {key: value.detach() for key, value in raw.items()}
        if adversarial:
            terms |= discriminator_step(run, made.detach(), image, config, precision)
            if workers > 1:
                mean_gradients(list(run.d.parameters()), 0.0)
            run.d_optimizer.param_groups[0]["lr"] = config["d_lr"] * factor
            run.d_optimizer.step()
        values = {key: float(value) for key, value in terms.items()}
        if not all(map(math.isfinite, values.values())):
            raise FloatingPointError(
                f"training diverged at step {run.step}: {values}; {checkpoint} is the last good state, if any"
            )
        run.step, run.stage_step, run.images = run.step + 1, run.stage_step + 1, run.images + config["batch"]
        if rank == 0:
            ema_update(run.average, run.g, config["batch"], run.images, config["ema_images"])
            window.append(values)
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if rank != 0:
            continue
        done = progress >= 1
        if run.seconds >= next_log or done:
            row = {
                "step": run.step,
                "images": run.images,
                "minutes": run.seconds / 60,
                "size": size,
                "lr": factor * config["lr"],
            }
            row |= {
                key: float(np.mean([w[key] for w in window if key in w]))
                for key in sorted({k for w in window for k in w})
            }
            row["images_per_s"] = (run.images - logged[0]) / max(run.seconds - logged[1], 1e-9)
            row |= validate(run, data, size, device, precision, run_dir / f"samples_{size}.png")
            append_row(run_dir / "log.csv", row)
            print(" ".join(f"{k}={v:.4g}" for k, v in row.items()), flush=True)
            window, logged, next_log = [], (run.images, run.seconds), run.seconds + config["log_seconds"]
        if run.seconds >= next_save or done:
            run.save(checkpoint, inputs)
            next_save = run.seconds + config["save_seconds"]
        last = time.monotonic()  # logging and saving are outside the budget
    if workers > 1:
        dist.barrier()
        dist.destroy_process_group()
    if rank == 0:
        export(run, data, config, run_dir, device)


def append_row(path: Path, row: dict[str, float]) -> None:
    """One row more; columns that appear later (a new phase) start a new header line."""
    old = path.read_text().splitlines() if path.is_file() else []
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if not old or ",".join(row) not in old:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def export(run: Run, data: Portraits, config: dict, run_dir: Path, device: str) -> None:
    """The averaged generator with its mean w, and the discriminator, as the files that `data/` holds."""
    with torch.no_grad():
        z = torch.randn(10_000, config["z_dim"], generator=torch.Generator().manual_seed(0)).to(device)
        run.average.w_avg.copy_(run.average.mapping(z).mean(dim=0))
    facts = {
        "images_seen": run.images,
        "steps": run.step,
        "minutes": round(run.seconds / 60, 1),
        "pairs": data.count,
    }
    facts |= {"phase": config["phase"], "seed": config["seed"]}
    facts |= {"note": config["note"]} if config["note"] else {}
    save_network(run_dir / "generator.safetensors", run.average, run.arguments, facts)
    if run.d is not None:
        arguments = {"size": config["size"], "channels": config["channels"]}
        save_network(run_dir / "discriminator.safetensors", run.d, arguments, facts)


def read_config(arguments: argparse.Namespace) -> dict:
    """DEFAULTS, then world.size and the section `generator` of the parameter file, then the command line."""
    config, sections = dict(DEFAULTS), []
    if arguments.params.is_file():
        params = yaml.safe_load(arguments.params.read_text())
        sections = [{"size": params["world"]["size"]}, params["generator"]]
    sections.append({k: yaml.safe_load(v) for k, _, v in (item.partition("=") for item in arguments.set)})
    for section in sections:
        unknown = sorted(section.keys() - DEFAULTS.keys())
        if unknown:
            raise ValueError(f"generator: unknown key {unknown[0]!r}, expected one of {sorted(DEFAULTS)}")
        config |= section
    for key in ("channels", "stages"):
        config[key] = {int(side): value for side, value in config[key].items()}
    config["stages"] = {side: share for side, share in config["stages"].items() if side <= config["size"]}
    if arguments.phase == "adversarial":
        config["stages"] = {config["size"]: 1.0}
    for key in ("phase", "minutes", "fp32", "log_seconds", "save_seconds", "note"):
        config[key] = getattr(arguments, key)
    return config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", required=True, help="folders with z.npy and images.npy")
    parser.add_argument(
        "--run", required=True, help="folder for checkpoint, log and samples; continued if it has one"
    )
    parser.add_argument("--phase", choices=("paired", "adversarial"), default="paired")
    parser.add_argument(
        "--start", help="checkpoint.pt or generator.safetensors of another run to take the weights from"
    )
    parser.add_argument(
        "--features", help="safetensors of the perceptual network, for a perceptual weight above 0"
    )
    parser.add_argument(
        "--tutor",
        default=str(ROOT / "pretrain" / "out" / "tutor.safetensors"),
        help="safetensors of the tutor, for a tutor weight above 0",
    )
    parser.add_argument("--minutes", type=float, required=True, help="training time; the schedule spans it")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes of one thread each that share every batch"
    )
    parser.add_argument("--log-seconds", type=float, default=60)
    parser.add_argument("--save-seconds", type=float, default=240)
    parser.add_argument("--note", default="", help="what else its users should know, for the file's metadata")
    parser.add_argument("--fp32", action="store_true", help="also where the hardware computes in bfloat16")
    parser.add_argument("--params", type=Path, default=ROOT / "pretrain" / "params.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the section, YAML"
    )
    arguments = parser.parse_args()
    config = read_config(arguments)
    run_dir = Path(arguments.run)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "rendezvous").unlink(missing_ok=True)
    paths = {key: getattr(arguments, key) for key in ("data", "run", "start", "features", "tutor")}
    print(json.dumps(config), flush=True)
    if arguments.workers > 1:
        mp.spawn(train, args=(arguments.workers, config, paths), nprocs=arguments.workers)
    else:
        train(0, 1, config, paths)


if __name__ == "__main__":
    main()
