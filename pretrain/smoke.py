"""data/smoke: every pre-trained network, tiny and untrained, so that tests run the pipeline in a minute.

    python -m pretrain.smoke [--out data/smoke]

Numbers made with these networks mean nothing; formats, shapes and code paths are those of the real ones.
"""

import argparse
import json
from pathlib import Path

import torch

from hfld.checkpoints import save_network
from hfld.config import ROOT, load_profile
from hfld.networks import network_class
from hfld.portraits.parameters import Z_DIM

CHANNELS = {4: 16, 8: 16, 16: 16, 32: 8, 64: 8}


def networks(size: int) -> dict[str, tuple[str, dict]]:
    """File name -> class name and constructor arguments."""
    reader = {"depth": 18, "width": 4, "stem": "small"}
    return {
        "generator": (
            "Generator",
            {"size": size, "z_dim": Z_DIM, "w_dim": 32, "mapping_layers": 2, "channels": CHANNELS,
             "normalize_z": False},
        ),
        "discriminator": ("Discriminator", {"size": size, "channels": CHANNELS}),
        "regressor": ("ResNet", {**reader, "outputs": 40, "sigmoid": True}),
        "perceptual": ("VGG19Features", {"width": 4}),
        "judge_attributes_tuning": ("ResNet", {**reader, "outputs": 40, "sigmoid": True}),
        "judge_attributes": ("ResNet", {**reader, "outputs": 40, "sigmoid": True}),
        "judge_emotion": ("EmotionNet", {"width": 4}),
        "judge_landmarks": ("ResNet", {**reader, "outputs": 212}),
        "judge_identity": ("ResNet", {**reader, "outputs": 16}),
    }  # fmt: skip


def make_world(folder: Path, *, size: int) -> None:
    """Write all networks and the card to `folder`."""
    for seed, (name, (kind, arguments)) in enumerate(networks(size).items()):
        torch.manual_seed(seed)
        network = network_class(kind)(**arguments).eval()
        save_network(folder / f"{name}.safetensors", network, arguments, {"trained": False})
    (folder / "card.json").write_text(json.dumps({"trained": False, "size": size}, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    profile = load_profile("smoke")
    parser.add_argument("--out", type=Path, default=ROOT / profile.world.weights)
    folder = parser.parse_args().out
    make_world(folder, size=profile.world.size)
    print(f"wrote {len(list(folder.glob('*.safetensors')))} untrained networks to {folder}")
