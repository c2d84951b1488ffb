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
import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor, nn

from hfld.attributes import index_of
from hfld.checkpoints import load_network, save_network
from hfld.config import ROOT
from hfld.models import autocast, reuse_memory
from hfld.training.distributed import Team, leave
from pretrain.paired import Portraits, contrast_map, reconstruction_loss, sample_grid, tutor_loss
from pretrain.training_state import TrainingState, ema_update

R1_EVERY = 16  # steps


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


def average_gradients(network: nn.Module, team: Team) -> None:
    """Team.average_gradients in one message: a network has many small tensors."""
    if team.size > 1:
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        mean = team.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = mean.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


class Training:
    """One worker's part of the training; all of them hold the same weights and see different images."""

    def __init__(self, config: dict, paths: dict, team: Team) -> None:
        self.config, self.team, self.run_dir = config, team, Path(paths["run"])
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.checkpoint = self.run_dir / "checkpoint.pt"
        self.inputs = {**config, "data": paths["data"], "start": paths["start"]}
        self.data = Portraits([Path(folder) for folder in paths["data"]], config["validation"])
        self.state = TrainingState(config, self.device)
        if self.checkpoint.is_file():
            self.state.load(self.checkpoint, self.inputs)
        elif paths["start"]:
            self.state.start_from(Path(paths["start"]))
        self.tutor = None
        if config["tutor"] > 0:
            self.tutor = load_network(Path(paths["tutor"]), device=self.device)
        self.precision = autocast("fp32" if config["fp32"] else "auto", self.device)
        self.window: list[dict[str, float]] = []  # terms since the last row of the log
        self.logged = self.state.images, self.state.seconds
        self.saved = self.state.seconds

    def run(self) -> None:
        """Train until the time is over; logging and saving do not count."""
        state, config = self.state, self.config
        while (progress := self.progress()) < 1:
            start = time.monotonic()
            values = self.step(progress)
            state.seconds += time.monotonic() - start
            if not self.team.leads:
                continue
            self.window.append(values)
            if state.seconds - self.logged[1] >= config["log_seconds"]:
                self.log()
            if state.seconds - self.saved >= config["save_seconds"]:
                self.save()
        if self.window:
            self.log()
            self.save()

    def progress(self) -> float:
        """The share of the time that is over, by the first worker's clock."""
        share = self.state.seconds / (60 * self.config["minutes"])
        return share if self.team.size == 1 else float(self.team.share(torch.tensor(share)))

    def step(self, progress: float) -> dict[str, float]:
        """One update of G, and of D; their terms."""
        state, config = self.state, self.config
        size, _ = stage_size(progress, config["stages"])
        if size != state.stage:
            state.stage, state.stage_step = size, 0
        factor = learning_rate(progress, state.stage_step, config)
        index = self.data.indices(state.step, config["batch"], config["seed"])
        z, image = self.data.batch(index[self.team.rows(config["batch"])], size, self.device)
        state.g.zero_grad(set_to_none=True)
        with self.precision():
            made = state.g(z, noise="none", size=size).float()
        terms = self.generator_terms(made, image)
        sum(config[name] * value for name, value in terms.items()).backward()
        average_gradients(state.g, self.team)
        state.update("adam", "muon", factor=factor)
        if state.d is not None:
            state.d.zero_grad(set_to_none=True)
            total, more = self.discriminator_terms(made.detach(), image)
            total.backward()
            average_gradients(state.d, self.team)
            state.update("d", factor=factor)
            terms |= more
        values = {name: float(value.detach()) for name, value in terms.items()}
        if not all(map(math.isfinite, values.values())):
            raise FloatingPointError(
                f"training diverged at step {state.step}: {values}; "
                f"{self.checkpoint} is the last good state, if any"
            )
        state.step, state.stage_step = state.step + 1, state.stage_step + 1
        state.images += config["batch"]
        if self.team.leads:
            ema_update(state.average, state.g, config["batch"], state.images, config["ema_images"])
        return values

    def generator_terms(self, made: Tensor, image: Tensor) -> dict[str, Tensor]:
        """What G minimises, without the weights: G(z) against the render, D, and the tutor's readings."""
        weight = 1 + self.config["contrast_weight"] * contrast_map(image)
        terms = reconstruction_loss(made, image, weight)
        with self.precision():
            if self.state.d is not None:
                self.state.d.requires_grad_(False)
                terms["adversarial"] = F.softplus(-self.state.d(made)).mean()
                self.state.d.requires_grad_(True)
            if self.tutor is not None and made.shape[-1] == self.config["size"]:
                terms |= tutor_loss(self.tutor, made, image)
        return terms

    def discriminator_terms(self, fake: Tensor, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """D's total, and its terms: the non-saturating logistic loss, with R1 every 16 steps (StyleGAN2,
        appendix B).
        """
        d = self.state.d
        with self.precision():
            terms = {"d": F.softplus(d(fake)).mean() + F.softplus(-d(real)).mean()}
        if self.state.step % R1_EVERY:
            return terms["d"], terms
        real = real.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(d(real).sum(), real, create_graph=True)
        terms["r1"] = gradient.square().sum(dim=(1, 2, 3)).mean()
        return terms["d"] + terms["r1"] * (self.config["r1"] / 2 * R1_EVERY), terms

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """L1 in [0, 255] levels and detail on held-out pairs, by the averaged weights; writes samples."""
        size, sums = self.state.stage, {"l1": 0.0, "detail": 0.0}
        batches = np.split(self.data.validation, range(64, len(self.data.validation), 64))
        for number, index in enumerate(batches):
            z, image = self.data.batch(index, size, self.device)
            with self.precision():
                made = self.state.average(z, noise="none", size=size).float()
            sums["l1"] += float((made.clamp(-1, 1) - image).abs().mean()) * 127.5 * len(z)
            sums["detail"] += float(reconstruction_loss(made, image)["detail"]) * len(z)
            if number == 0:
                Image.fromarray(sample_grid(image, made)).save(self.run_dir / f"samples_{size}.png")
        return {f"validation_{name}": value / len(self.data.validation) for name, value in sums.items()}

    def log(self) -> None:
        """One row more in log.csv, with the means of the terms since the one before."""
        state, (images, seconds) = self.state, self.logged
        row = {"step": state.step, "images": state.images, "minutes": state.seconds / 60, "size": state.stage}
        row["lr"] = state.optimizers["adam"].param_groups[0]["lr"]
        row |= pd.DataFrame(self.window).mean().to_dict()
        row["images_per_s"] = (state.images - images) / max(state.seconds - seconds, 1e-9)
        row |= self.validate()
        path = self.run_dir / "log.csv"
        before = [pd.read_csv(path)] if path.is_file() else []
        pd.concat([*before, pd.DataFrame([row])]).to_csv(path, index=False, float_format="%.6g")
        print(" ".join(f"{name}={value:.4g}" for name, value in row.items()), flush=True)
        self.window, self.logged = [], (state.images, state.seconds)

    def save(self) -> None:
        self.state.save(self.checkpoint, self.inputs)
        self.saved = self.state.seconds

    def export(self) -> None:
        """The averaged generator with its mean w, and the discriminator, as the files that `data/` holds."""
        state, config = self.state, self.config
        with torch.no_grad():
            z = torch.randn(10_000, config["z_dim"], generator=torch.Generator().manual_seed(0))
            state.average.w_avg.copy_(state.average.mapping(z.to(self.device)).mean(dim=0))
        facts = {"images_seen": state.images, "steps": state.step, "minutes": round(state.seconds / 60, 1)}
        facts |= {"pairs": self.data.count, "phase": config["phase"], "seed": config["seed"]}
        facts |= {"note": config["note"]} if config["note"] else {}
        save_network(self.run_dir / "generator.safetensors", state.average, state.arguments, facts)
        if state.d is not None:
            arguments = {"size": config["size"], "channels": config["channels"]}
            save_network(self.run_dir / "discriminator.safetensors", state.d, arguments, facts)


def train(rank: int, workers: int, config: dict, paths: dict) -> None:
    """One of the processes that train together."""
    reuse_memory()
    team = Team(rank, workers)
    if workers > 1:
        torch.set_num_threads(1)
        store = f"file://{Path(paths['run']).resolve()}/rendezvous"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=workers)
    training = Training(config, paths, team)
    training.run()
    leave(team)
    if team.leads:
        training.export()


def read_config(arguments: argparse.Namespace) -> dict:
    """world.size and the section `generator` of the parameter file, then the command line."""
    params = yaml.safe_load(arguments.params.read_text(encoding="utf-8"))
    config = {"size": params["world"]["size"], **params["generator"]}
    for key, _, value in (item.partition("=") for item in arguments.set):
        index_of(key, config, "key of the section generator")
        config[key] = yaml.safe_load(value)
    for key in ("channels", "stages"):
        config[key] = {int(side): value for side, value in config[key].items()}
    config["stages"] = {side: share for side, share in config["stages"].items() if side <= config["size"]}
    if arguments.phase == "adversarial":
        config["stages"] = {config["size"]: 1.0}
    return config | {
        key: getattr(arguments, key)
        for key in ("phase", "minutes", "fp32", "log_seconds", "save_seconds", "note")
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, tutor = parser.add_argument, ROOT / "pretrain" / "out" / "tutor.safetensors"
    add("--data", nargs="+", required=True, help="folders with z.npy and images.npy")
    add("--run", required=True, help="folder for checkpoint, log and samples; continued if it has one")
    add("--phase", choices=("paired", "adversarial"), default="paired")
    add("--start", help="checkpoint.pt or generator.safetensors of another run to take the weights from")
    add("--tutor", default=str(tutor), help="safetensors of the tutor, for a tutor weight above 0")
    add("--minutes", type=float, required=True, help="training time; the schedule spans it")
    add("--workers", type=int, default=1, help="processes of one thread each that share every batch")
    add("--log-seconds", type=float, default=60)
    add("--save-seconds", type=float, default=240)
    add("--note", default="", help="what else its users should know, for the file's metadata")
    add("--fp32", action="store_true", help="also where the hardware computes in bfloat16")
    add("--params", type=Path, default=ROOT / "pretrain" / "params.yaml")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the section, YAML")
    arguments = parser.parse_args()
    config = read_config(arguments)
    run_dir = Path(arguments.run)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "rendezvous").unlink(missing_ok=True)
    paths = {key: getattr(arguments, key) for key in ("data", "run", "start", "tutor")}
    print(json.dumps(config), flush=True)
    if arguments.workers > 1:
        mp.spawn(train, args=(arguments.workers, config, paths), nprocs=arguments.workers)
    else:
        train(0, 1, config, paths)


if __name__ == "__main__":
    main()
