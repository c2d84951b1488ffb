"""What a checkpoint of the generator's training holds: networks, optimizers, and how far they are."""

import json
from pathlib import Path

import torch
from torch import nn

from hfld.checkpoints import load_network
from hfld.images import replacing
from hfld.networks.stylegan2 import Discriminator, Generator
from hfld.training.loop import set_learning_rates
from pretrain.muon import Muon

MAY_CHANGE = {"minutes", "log_seconds", "save_seconds", "note"}
"""What may differ between a checkpoint's config and that of the run that continues it."""
COUNTERS = ("step", "stage_step", "images", "seconds", "stage")


class TrainingState:
    """G, its moving average, in the adversarial phase D, their optimizers, and counters."""

    def __init__(self, config: dict, device: str) -> None:
        torch.manual_seed(config["seed"])
        shape = {"size": config["size"], "channels": config["channels"]}
        keys = ("z_dim", "w_dim", "mapping_layers", "mapping_features", "mapping_lr")
        self.arguments = {**shape, **{key: config[key] for key in keys}, "normalize_z": False}
        self.g, self.average = (Generator(**self.arguments).to(device) for _ in range(2))
        first = min(config["stages"])
        for to_rgb, side in zip(self.g.synthesis.to_rgbs, (4 * 2**k for k in range(99)), strict=False):
            if side > first:  # a new level enters silently
                nn.init.zeros_(to_rgb.weight)
        self.average.load_state_dict(self.g.state_dict())
        self.d = Discriminator(**shape).to(device) if config["phase"] == "adversarial" else None
        betas = (config["beta1"] if self.d is None else 0.0, 0.99)
        mapping, kernels, others = split_parameters(self.g)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(others, lr=config["lr"], betas=betas, fused=True),
            "muon": Muon(
                [
                    {"params": mapping, "lr": config["mapping_muon_lr"]},
                    {"params": kernels, "lr": config["muon_lr"]},
                ]
            ),
        }
        if self.d is not None:
            self.optimizers["d"] = torch.optim.Adam(
                self.d.parameters(), lr=config["d_lr"], betas=(0.0, 0.99), fused=True
            )
        self.rates = {
            name: [group["lr"] for group in optimizer.param_groups]
            for name, optimizer in self.optimizers.items()
        }
        self.step, self.stage_step, self.images, self.seconds, self.stage = 0, 0, 0, 0.0, 0

    def update(self, *names: str, factor: float) -> None:
        """A step of these optimizers, at `factor` times their rates."""
        for name in names:
            set_learning_rates(self.optimizers[name], self.rates[name], factor)
            self.optimizers[name].step()

    def save(self, path: Path, config: dict) -> None:
        """FloatingPointError if a weight is not finite: the file that is there stays."""
        for name, network in self._networks().items():
            for key, value in network.state_dict().items():
                if not torch.isfinite(value).all():
                    raise FloatingPointError(
                        f"after step {self.step} {name}.{key} is not finite; {path} is the last good state"
                    )
        parts = {name: part.state_dict() for name, part in (self._networks() | self.optimizers).items()}
        counters = {name: getattr(self, name) for name in COUNTERS}
        saved = {"parts": parts, "counters": counters, "rng": torch.get_rng_state()}
        with replacing(path) as temporary:
            torch.save({**saved, "config": json.dumps(config)}, temporary)

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
        for name, part in (self._networks() | self.optimizers).items():
            part.load_state_dict(saved["parts"][name])
        vars(self).update(saved["counters"])
        torch.set_rng_state(saved["rng"])

    def start_from(self, path: Path) -> None:
        """Weights of another run: its averaged generator, and its discriminator where both have one."""
        if path.suffix == ".safetensors":
            parts = {"average": load_network(path).state_dict()}
        else:
            parts = torch.load(path, map_location="cpu", weights_only=True)["parts"]
        self.g.load_state_dict(parts["average"])
        self.average.load_state_dict(parts["average"])
        if self.d is not None and "discriminator" in parts:
            self.d.load_state_dict(parts["discriminator"])

    def _networks(self) -> dict[str, nn.Module]:
        named = {"g": self.g, "average": self.average, "discriminator": self.d}
        return {name: network for name, network in named.items() if network is not None}


def split_parameters(generator: nn.Module) -> tuple[list[nn.Parameter], ...]:
    """Those that Muon trains (weights of linear layers, 3x3 kernels) in the mapping network and behind it,
    and the others.
    """
    mapping, kernels, others = [], [], []
    for name, parameter in generator.named_parameters():
        matrix = parameter.ndim == 2 or (parameter.ndim == 4 and parameter.shape[-1] == 3)
        if not matrix or name == "synthesis.constant":
            others.append(parameter)
        else:
            (mapping if name.startswith("mapping.") else kernels).append(parameter)
    return mapping, kernels, others


def ema_update(average: nn.Module, model: nn.Module, batch: int, images: int, half_life: float) -> None:
    """Exponential moving average; its half-life grows with the images seen: the start is forgotten."""
    decay = 0.5 ** (batch / max(min(half_life, 0.1 * images), 1.0))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
