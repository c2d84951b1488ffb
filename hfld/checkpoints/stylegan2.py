"""What the three formats of StyleGAN2's checkpoints share, once a file's names are ours."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hfld.checkpoints.parts import Rule
from hfld.networks.stylegan2 import resolutions


def level(side: str | int) -> int:
    """0 for 4 px, 1 for 8 px, ..."""
    return int(side).bit_length() - 3


def generator_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a generator's tensors say of its constructor's arguments."""
    levels = sum(bool(re.fullmatch(r"synthesis\.to_rgbs\.\d+\.bias", key)) for key in state)
    size = 4 << (levels - 1)
    resolutions(size)  # a crafted file has sides without end
    w_dim, z_dim = state["mapping.layers.0.weight"].shape
    return {
        "size": size,
        "z_dim": z_dim,
        "w_dim": w_dim,
        "mapping_layers": sum(key.startswith("mapping.") for key in state) // 2,
        "channels": {4 << i: len(state[f"synthesis.convs.{2 * i}.bias"]) for i in range(levels)},
    }


def discriminator_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The same of a discriminator."""
    widths = [len(state["from_rgb.bias"])]
    while (key := f"blocks.{len(widths) - 1}.conv2.bias") in state:
        widths.append(len(state[key]))
    channels = {4 << i: width for i, width in enumerate(reversed(widths))}
    return {"size": max(channels), "channels": channels}


def discriminator_rules(size: int, names: Mapping[str, str]) -> list[Rule]:
    """Rules for names by the side of a layer's pictures; ours are counted from the full size down.

    names: our layer -> a pattern of what stands before "weight" or "bias"; in a block's, the side is a group.
    """
    resolutions(size)

    def rule(ours: str, pattern: str) -> Rule:
        if "(" not in pattern:
            return pattern + "(weight|bias)", lambda kind: f"{ours}.{kind}"
        return (
            pattern + "(weight|bias)",
            lambda side, kind: f"blocks.{level(size) - level(side)}.{ours}.{kind}",
        )

    return [rule(ours, pattern) for ours, pattern in names.items()]
