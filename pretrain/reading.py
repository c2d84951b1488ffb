"""Training of the nets that read portraits (R, F and the judges): settings, data and the common step."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from hfld.attributes import index_of
from hfld.checkpoints import save_network
from hfld.config import ROOT, read_section
from hfld.images import to_tensor
from hfld.models import autocast, reuse_memory
from hfld.portraits.dataset import PortraitSet, portraits, renderer_hash
from hfld.training.augment import mirror_half, shift, soften
from hfld.training.loop import batch_indices, cosine_schedule, train

Loss = Callable[[Tensor, "Labels"], Mapping[str, Tensor]]
"""Outputs of the net, what these portraits show -> named terms."""
PIXELS = 128
"""Landmark errors are stated in px of a picture with this side, whatever the world's size."""


@dataclass(frozen=True)
class World:
    """Where pictures, checkpoints and products live."""

    size: int  # px
    cache: str
    runs: str
    out: str


@dataclass(frozen=True)
class Rendered:
    """One rendered set."""

    n: int
    seed: int
    mode: Literal["natural", "independent", "intervened"]
    coupling: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How one net is trained."""

    data: str  # name of a rendered set
    width: int
    steps: int
    batch: int
    lr: float
    weight_decay: float
    seed: int
    depth: int | None = None  # of a residual net
    stem: Literal["imagenet", "half", "small"] = "half"
    pool: int = 1
    blur: float = 0.4  # largest; see hfld.training.augment.soften
    noise: float = 0.03
    shift: float = 0.0  # px; landmarks only
    warmup: int = 100  # steps


class Settings:
    """pretrain/params.yaml, read section by section; wrong keys are named."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sections = yaml.safe_load(path.read_text())
        self.world: World = read_section(World, self.sections["world"], where=f"{path}, section world")

    def rendered(self, name: str) -> Rendered:
        index_of(name, self.sections["portraits"], "portrait set")
        return read_section(
            Rendered, self.sections["portraits"][name], where=f"{self.path}, portraits, {name}"
        )

    def recipe(self, name: str) -> Recipe:
        index_of(name, self.sections, "section")
        return read_section(Recipe, self.sections[name], where=f"{self.path}, section {name}")

    def portraits(self, name: str, *, workers: int = 1, progress: bool = True) -> PortraitSet:
        """A rendered set; drawn now if the cache does not have it."""
        return portraits(
            **asdict(self.rendered(name)),
            size=self.world.size,
            cache_dir=ROOT / self.world.cache,
            workers=workers,
            progress=progress,
        )


@dataclass(frozen=True)
class Labels:
    """What N portraits show."""

    labels: Tensor  # [N, 40] 0 or 1
    strengths: Tensor  # [N, 40]
    visible: Tensor  # [N, 40] 0 or 1
    units: Tensor  # [N, 14]
    emotions: Tensor  # [N, 7], rows sum to 1
    nuisance: Tensor  # [N, 35]
    landmarks: Tensor  # [N, 106, 2]

    @classmethod
    def of(cls, data: PortraitSet) -> "Labels":
        p = data.parameters
        arrays = (p.labels, p.strengths, p.visible, p.units, p.emotions / 100, p.nuisance, data.landmarks)
        return cls(*(torch.from_numpy(np.array(array, np.float32)) for array in arrays))

    def __getitem__(self, index: Tensor) -> "Labels":
        return Labels(*(value[index] for value in vars(self).values()))


@dataclass(frozen=True)
class Job:
    """The command line of a training script."""

    settings: Settings
    threads: int
    progress: bool
    max_seconds: float | None
    chosen: tuple[str, ...]  # which nets

    @cached_property
    def out(self) -> Path:
        return ROOT / self.settings.world.out


def read_job(description: str, names: tuple[str, ...]) -> Job:
    """Options that every training script shares; torch's thread count is set here."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("nets", nargs="*", default=names, help=f"default: {' '.join(names)}")
    parser.add_argument("--params", type=Path, default=ROOT / "pretrain" / "params.yaml")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="stop then, saved; the same command continues")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args()
    for name in options.nets:
        index_of(name, names, "net")
    torch.set_num_threads(options.threads)
    reuse_memory()
    return Job(
        settings=Settings(options.params),
        threads=options.threads,
        progress=not options.quiet,
        max_seconds=options.minutes and 60 * options.minutes,
        chosen=tuple(options.nets),
    )


def train_reader(
    job: Job,
    name: str,  # section of the parameter file and name of the product
    network: nn.Module,  # what is saved
    arguments: Mapping[str, object],  # its constructor's
    loss: Loss,
    *,
    trained: nn.Module | None = None,  # the network with the head that it is trained through, if any
    outputs: Callable[[Tensor], Tensor],  # images -> outputs that the loss takes
    mirrored: bool = True,  # flip half of the portraits
    finish: Callable[[], None] = lambda: None,  # called once before saving
) -> None:
    """Train a net and save it to `out/<name>.safetensors`, unless the time runs out before the end."""
    recipe, settings = job.settings.recipe(name), job.settings
    data = settings.portraits(recipe.data, workers=job.threads, progress=job.progress)
    labels = Labels.of(data)
    trained = trained or network
    trained.to(memory_format=torch.channels_last).train()
    precision = autocast("auto")

    def step(i: int) -> Mapping[str, Tensor]:
        index = batch_indices(i, count=len(data), batch=recipe.batch, seed=recipe.seed)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + i)
        images, points = to_tensor(data.images[index.numpy()]), labels.landmarks[index]
        if mirrored:
            images, points = mirror_half(images, points, generator)
        if recipe.shift > 0:
            zoom = recipe.shift / settings.world.size
            images, points = shift(images, points, generator, pixels=recipe.shift, zoom=zoom)
        images = soften(images, generator, blur=recipe.blur, noise=recipe.noise)
        with precision():
            predicted = outputs(images.contiguous(memory_format=torch.channels_last))
        return loss(predicted.float(), replace(labels[index], landmarks=points))

    facts = {
        "recipe": asdict(recipe),
        "size": settings.world.size,
        "portraits": asdict(settings.rendered(recipe.data)),
        "arguments": dict(arguments),
        "renderer": renderer_hash()[:12],
    }
    history = train(
        step=step,
        optimizer=_optimizer(trained, recipe),
        state={"network": trained},
        steps=recipe.steps,
        run_dir=ROOT / settings.world.runs / name,
        fingerprint=facts,
        schedule=cosine_schedule(recipe.steps, warmup=recipe.warmup),
        save_every=250,
        max_seconds=job.max_seconds,
        progress=job.progress,
        name=name,
    )
    if history[-1]["step"] == recipe.steps:
        finish()
        facts |= {"world": "portraits", "last": {key: round(value, 6) for key, value in history[-1].items()}}
        save_network(job.out / f"{name}.safetensors", network.eval(), arguments, facts)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW that leaves biases and norms alone."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr)
