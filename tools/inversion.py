"""How well portraits that no network has seen are inverted, against their exact landmarks.

    python -m tools.inversion portraits --faces 10

Goal: less than 1 px of 128. The judge of landmarks, which did not search, reads four pictures of each face:
the rendered portrait (its own error), G at the portrait's own latent (G's error), G at the latent that was
found, and, with --tune, the generator that was adapted to it.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from hfld.config import InversionConfig, load_profile
from hfld.evaluation.judges import Judges
from hfld.images import to_tensor
from hfld.inversion import fidelity, invert, tune
from hfld.models import Models
from hfld.portraits.world import PortraitWorld, world_of

GOAL = 1.0  # px of 128


def check(
    models: Models,
    judges: Judges,
    world: PortraitWorld,
    z: Tensor,  # [N, z_dim] of portraits that nothing was trained on
    config: InversionConfig,
    *,
    tuned: bool = False,  # adapt the generator to each face, too
    progress: bool = True,
) -> pd.DataFrame:
    """One row a face: landmark errors in px of 128, perceptual share, identity, seconds of the search."""
    truth, rows = world.truth(z.numpy()), []
    for i in tqdm(range(len(z)), desc="portraits", disable=not progress):
        target = to_tensor(truth.images[i][None])
        read = {"identity": judges.identity, "landmarks": judges.landmarks}
        read["points"] = torch.from_numpy(np.asarray(truth.landmarks[i], np.float32))
        with torch.no_grad():
            own = models.images(models.ws(z[[i]])).float().clamp(-1, 1)
        start = time.monotonic()
        found = invert(models, target, config, progress=False)
        seconds = time.monotonic() - start
        shown = {"render_px": target, "own_latent_px": own, "found_px": found.image}
        if tuned:
            generator = tune(models, found, config, progress=False)
            with torch.no_grad():
                image = generator.synthesis(found.ws.to(models.device), noise="fixed").float()
            shown["tuned_px"] = image.clamp(-1, 1)
        errors = {
            name: fidelity(replace(found, image=image), **read).landmark_px for name, image in shown.items()
        }
        report = fidelity(found, **read)
        rows.append(
            {"face": i, **errors, "perceptual": report.perceptual, "identity": report.identity,
             "stranger": found.stranger, "seconds": seconds}
        )  # fmt: skip
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 if a face misses the goal."""
    parser = argparse.ArgumentParser(prog="python -m tools.inversion", description=__doc__.split("\n")[0])
    parser.add_argument("profile", nargs="?", default="portraits")
    parser.add_argument("--faces", type=int, default=10)
    parser.add_argument("--seed", type=int, default=20_261_126, help="of the held-out portraits")
    parser.add_argument("--steps", type=int, help="of each search; the profile's if left out")
    parser.add_argument("--tune", action="store_true", help="adapt the generator to each face, too")
    parser.add_argument("--csv", type=Path, help="write one row a face")
    options = parser.parse_args(arguments)
    profile = load_profile(options.profile)
    if (world := world_of(profile)) is None:
        parser.error(f"{options.profile} is on photographs, whose exact landmarks nobody knows")
    models, judges = Models.of(profile), Judges.of(profile)
    z = models.latents(options.faces, seed=options.seed, split="test")
    config = profile.inversion if options.steps is None else replace(profile.inversion, steps=options.steps)
    frame = check(models, judges, replace(world, workers=1), z, config, tuned=options.tune)
    if options.csv is not None:
        frame.to_csv(options.csv, index=False)
    print(frame.round(3).to_string(index=False))
    print(f"\nLandmark errors of {len(frame)} portraits, px of 128, goal {GOAL:g}:")
    print(frame.filter(like="_px").agg(["median", "max"]).T.round(3).to_string())
    return int(frame["found_px"].max() >= GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
