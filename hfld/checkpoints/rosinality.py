"""Checkpoints of the PyTorch StyleGAN2 that the baseline uses (github.com/rosinality/stylegan2-pytorch).

A dict with state_dicts `g_ema`, `g`, `d` and the mean latent `latent_avg`; optimizers and the like are left
out. Its arithmetic is ours, only names differ. What the file does not say is the constructor's default there:
the mapping network's learning rate multiplier .01, groups of 4 in D.
"""

from typing import Any

import torch
from torch import Tensor

from hfld.checkpoints.parts import Part, check_filter, rename
from hfld.checkpoints.stylegan2 import discriminator_arguments, generator_arguments
from hfld.checkpoints.torchfiles import tensor, tensors
from hfld.networks.stylegan2 import MappingNetwork

NAMES = {"g_ema": "generator", "g": "generator_raw", "d": "discriminator"}
MEAN_SAMPLES = 4096  # the reference's number of latents for the mean w

_STYLED = {"conv.weight": "weight", "noise.weight": "noise_strength", "activate.bias": "bias"}
_GENERATOR = (
    (r"style\.(\d+)\.(weight|bias)", lambda i, x: f"mapping.layers.{int(i) - 1}.{x}"),
    (r"input\.input", lambda: "synthesis.constant"),
    (r"conv1\.conv\.modulation\.(weight|bias)", lambda x: f"synthesis.convs.0.style.{x}"),
    (r"conv1\.(conv\.weight|noise\.weight|activate\.bias)", lambda x: f"synthesis.convs.0.{_STYLED[x]}"),
    (
        r"convs\.(\d+)\.conv\.modulation\.(weight|bias)",
        lambda i, x: f"synthesis.convs.{int(i) + 1}.style.{x}",
    ),
    (
        r"convs\.(\d+)\.(conv\.weight|noise\.weight|activate\.bias)",
        lambda i, x: f"synthesis.convs.{int(i) + 1}.{_STYLED[x]}",
    ),
    (r"to_rgb1\.conv\.modulation\.(weight|bias)", lambda x: f"synthesis.to_rgbs.0.style.{x}"),
    (r"to_rgb1\.(?:conv\.)?(weight|bias)", lambda x: f"synthesis.to_rgbs.0.{x}"),
    (
        r"to_rgbs\.(\d+)\.conv\.modulation\.(weight|bias)",
        lambda i, x: f"synthesis.to_rgbs.{int(i) + 1}.style.{x}",
    ),
    (r"to_rgbs\.(\d+)\.(?:conv\.)?(weight|bias)", lambda i, x: f"synthesis.to_rgbs.{int(i) + 1}.{x}"),
    (r"noises\.noise_(\d+)", lambda i: f"synthesis.convs.{i}.noise"),
)
_DISCRIMINATOR = (
    (r"convs\.0\.0\.weight", lambda: "from_rgb.weight"),
    (r"convs\.0\.1\.bias", lambda: "from_rgb.bias"),
    (r"convs\.(\d+)\.conv1\.[01]\.(weight|bias)", lambda i, x: f"blocks.{int(i) - 1}.conv1.{x}"),
    (r"convs\.(\d+)\.conv2\.[12]\.(weight|bias)", lambda i, x: f"blocks.{int(i) - 1}.conv2.{x}"),
    (r"convs\.(\d+)\.skip\.1\.(weight)", lambda i, x: f"blocks.{int(i) - 1}.skip.{x}"),
    (r"final_conv\.[01]\.(weight|bias)", lambda x: f"conv.{x}"),
    (r"final_linear\.0\.(weight|bias)", lambda x: f"dense.{x}"),
    (r"final_linear\.1\.(weight|bias)", lambda x: f"out.{x}"),
)


def matches(value: Any) -> bool:
    """Whether `value` is such a checkpoint."""
    return isinstance(value, dict) and any(
        isinstance(value.get(name), dict) and {key, f"module.{key}"} & value[name].keys()
        for name, key in (("g_ema", "input.input"), ("g", "input.input"), ("d", "convs.0.0.weight"))
    )


def read(value: dict[str, Any]) -> dict[str, Part]:
    """The networks of a checkpoint: generator (g_ema), generator_raw (g), discriminator (d)."""
    parts = {}
    for theirs, ours in NAMES.items():
        if isinstance(value.get(theirs), dict):
            state = tensors({str(key).removeprefix("module."): item for key, item in value[theirs].items()})
            if ours == "discriminator":
                parts[ours] = _discriminator(state)
            else:
                parts[ours] = _generator(state, value.get("latent_avg"))
    return parts


def _without_filters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for key, value in state.items():
        if key.endswith("kernel"):
            check_filter(key, value)
    return {key: value for key, value in state.items() if not key.endswith("kernel")}


def _generator(state: dict[str, Tensor], latent_avg: Any) -> Part:
    state = rename(_without_filters(state), _GENERATOR)
    arguments = generator_arguments(state)
    if arguments["z_dim"] != arguments["w_dim"]:
        shape = arguments["w_dim"], arguments["z_dim"]
        raise ValueError(f"style.1.weight has shape {shape}, expected a square [w_dim, z_dim]")
    notes = {}
    if "synthesis.convs.0.noise" not in state:
        notes["noise"] = "not in the file: drawn with seed 0"
        state |= _noise(len(arguments["channels"]))
    if latent_avg is None:
        notes["w_avg"] = f"not in the file: the mean w of {MEAN_SAMPLES} latents, drawn with seed 0"
        state["w_avg"] = _mean_w(state, arguments)
    else:
        state["w_avg"] = tensor(latent_avg)
    return Part("Generator", arguments, state, notes)


def _noise(levels: int) -> dict[str, Tensor]:
    """Fixed noise for files from before the reference stored it."""
    generator = torch.Generator().manual_seed(0)
    sides = [4] + [4 * 2**level for level in range(1, levels) for _ in range(2)]
    return {
        f"synthesis.convs.{i}.noise": torch.randn(1, 1, side, side, generator=generator)
        for i, side in enumerate(sides)
    }


def _mean_w(state: dict[str, Tensor], arguments: dict[str, Any]) -> Tensor:
    with torch.device("meta"):
        mapping = MappingNetwork(
            z_dim=arguments["z_dim"],
            w_dim=arguments["w_dim"],
            layers=arguments["mapping_layers"],
            normalize=True,
            lr_multiplier=0.01,
        )
    weights = {k.removeprefix("mapping."): v for k, v in state.items() if k.startswith("mapping.")}
    mapping.load_state_dict(weights, assign=True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return mapping(torch.randn(MEAN_SAMPLES, arguments["z_dim"], generator=generator)).mean(dim=0)


def _discriminator(state: dict[str, Tensor]) -> Part:
    state = rename(_without_filters(state), _DISCRIMINATOR)
    return Part("Discriminator", discriminator_arguments(state), state)
