"""Render the portrait sets that everything else is trained and measured on.

    python -m pretrain.portraits [generator ...] [--workers 2]

Prints the folder of each set (z.npy, images.npy, landmarks.npy); those that exist are left alone.
"""

import argparse
from pathlib import Path

import numpy as np

from hfld.config import ROOT
from hfld.portraits.dataset import PortraitSet
from pretrain.reading import Settings


def folder(data: PortraitSet) -> Path:
    """Where a cached set lies."""
    return Path(data.z.filename).parent


def sampling(data: PortraitSet) -> np.ndarray:
    """How often G's training draws each portrait: up to four times as often for what is rare."""
    p = data.parameters
    emotion = p.emotions.argmax(axis=1)[:, None] == np.arange(p.emotions.shape[1])
    shown = np.concatenate([p.labels & p.visible, emotion], axis=1)
    rarity = (0.1 / shown.mean(axis=0).clip(1e-3) - 1).clip(0, 3)
    return (1 + (shown * rarity).max(axis=1)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", help="default: all")
    parser.add_argument("--params", type=Path, default=ROOT / "pretrain" / "params.yaml")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    settings = Settings(options.params)
    for name in options.sets or settings.sections["portraits"]:
        data = settings.portraits(name, workers=options.workers)
        place = folder(data)
        if name in ("generator", "intervened") and not (place / "sampling.npy").is_file():
            np.save(place / "sampling.npy", sampling(data))
        print(f"{name}: {len(data)} portraits in {place.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    main()
