"""What measures order: sheets of the lowest, median and highest faces of each, and how repeatable they are.

    python -m pretrain.measure_sheets pictures.npy data/faces sheets/

pictures.npy: aligned faces, uint8 [N, S, S, 3]. One PNG for each measure, rows from low to high, and
repeatability.csv: the correlation of each measure with itself on pictures moved by 2 % of their side.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from hfld.checkpoints import load_network
from hfld.faces.measures import MEASURES, UNPROVEN, age, log_odds_male, measure
from hfld.faces.mesh import MeshReader

SHOWN = 10  # faces in a row
SIDE = 128  # px
BATCH = 20
SHIFT = 0.02  # of the side


class Readings:
    """All measures of pictures."""

    def __init__(self, folder: Path) -> None:
        self.mesh = MeshReader(load_network(folder / "mesh.safetensors"))
        self.gender, self.age = (load_network(folder / f"{name}.safetensors") for name in ("gender", "age"))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        mesh = self.mesh(images)
        points = mesh.points
        male, years = log_odds_male(images, points, self.gender), age(images, points, self.age)
        return {**measure(images, mesh, MEASURES | UNPROVEN), "Male": male, "Young": -years}


def moved(images: Tensor, share: float) -> Tensor:
    """The picture seen from a window moved to the right and down."""
    pixels = round(share * images.shape[-1])
    return F.pad(images, (0, pixels, 0, pixels), mode="replicate")[:, :, pixels:, pixels:]


def read_all(pictures: np.ndarray, readings: Readings, *, shift: float = 0.0) -> dict[str, np.ndarray]:
    """Name -> [N]."""
    parts = []
    for start in tqdm(range(0, len(pictures), BATCH)):
        x = torch.from_numpy(pictures[start : start + BATCH]).permute(0, 3, 1, 2) / 127.5 - 1
        parts.append(readings(moved(x, shift) if shift else x))
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def sheet(pictures: np.ndarray, values: np.ndarray) -> Image.Image:
    """The lowest faces, those around the median, the highest."""
    order = values.argsort()
    middle = len(order) // 2 - SHOWN // 2
    chosen = [order[:SHOWN], order[middle : middle + SHOWN], order[-SHOWN:]]
    rows = [
        np.hstack(
            [np.asarray(Image.fromarray(pictures[i]).resize((SIDE, SIDE), Image.Resampling.BOX)) for i in row]
        )
        for row in chosen
    ]
    return Image.fromarray(np.vstack(rows))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("networks", type=Path)
    parser.add_argument("sheets", type=Path)
    chosen = parser.parse_args(arguments)
    pictures, readings = np.load(chosen.pictures, mmap_mode="r"), Readings(chosen.networks)
    chosen.sheets.mkdir(parents=True, exist_ok=True)
    values, again = read_all(pictures, readings), read_all(pictures, readings, shift=SHIFT)
    for name, numbers in values.items():
        sheet(pictures, numbers).save(chosen.sheets / f"{name}.png")
    with (chosen.sheets / "repeatability.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["measure", "mean", "sd", "r"])
        for name, numbers in values.items():
            r = np.corrcoef(numbers, again[name])[0, 1]
            table.writerow([name, *(f"{value:.4g}" for value in (numbers.mean(), numbers.std(), r))])


if __name__ == "__main__":
    main()
