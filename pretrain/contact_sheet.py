"""Draw what the portraits world contains: docs/portraits_*.png, and how visible each attribute is.

    python -m pretrain.contact_sheet

docs/portraits_visibility.csv: for each attribute, over 24 counterfactual pairs at 128 px, the median share of
pixels that differ by more than 12 grey levels and the median difference over the most changed hundredth.
"""

import cv2
import numpy as np

from hfld.attributes import ATTRIBUTES, EMOTIONS
from hfld.config import ROOT
from hfld.images import write_text
from hfld.portraits.parameters import Parameters, counterfactual, decode, sample
from hfld.portraits.render import render

DOCS = ROOT / "docs"
MASCULINE = (
    "5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns", "No_Beard", "Bald", "Receding_Hairline",
    "Wearing_Necktie",
)  # fmt: skip
"""Attributes shown on a man's face."""
COVERS = (
    "Wearing_Hat", "Bald", "Eyeglasses", "Blurry", "Bangs", "Goatee", "Mustache", "Sideburns",
    "5_o_Clock_Shadow",
)  # fmt: skip
THRESHOLD = 12  # grey levels that a pixel must change by to count


def faces(n: int, seed: int) -> np.ndarray:
    """Latents of n faces with nothing that hides another attribute, looking ahead."""
    z = sample(20 * n, seed)
    parameters = decode(z)
    bare = ~parameters.labels[:, [ATTRIBUTES.index(name) for name in COVERS]].any(axis=1)
    return z[bare & (np.abs(parameters.pose[:, 0]) < 15)][:n]


def pair(z: np.ndarray, attribute: str) -> tuple[np.ndarray, np.ndarray]:
    """Exact counterfactuals without and with the attribute, each [N, 80]."""
    if attribute in MASCULINE:
        z = counterfactual(z, "Male", 1.0)
    if attribute == "No_Beard":
        z = counterfactual(z, "No_Beard", 0.0)
    return counterfactual(z, attribute, 0.0), counterfactual(z, attribute, 1.0)


def visibility(z: np.ndarray, size: int = 128) -> dict[str, tuple[float, float]]:
    """Attribute -> medians: share of changed pixels, contrast (grey levels) of the strongest hundredth."""
    found = {}
    for attribute in ATTRIBUTES:
        off, on = (render(decode(side), size)[0].astype(np.float32) for side in pair(z, attribute))
        change = np.abs(on - off).max(axis=-1).reshape(len(z), -1)  # [N, size * size]
        strongest = np.sort(change, axis=1)[:, -size * size // 100 :].mean(axis=1)
        found[attribute] = float(np.median((change > THRESHOLD).mean(axis=1))), float(np.median(strongest))
    return found


def tile(image: np.ndarray, title: str) -> np.ndarray:
    """The picture under its name."""
    framed = cv2.copyMakeBorder(image, 15, 3, 0, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return cv2.putText(framed, title, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)


def grid(tiles: list[np.ndarray] | np.ndarray, columns: int) -> np.ndarray:
    """Rows of pictures."""
    rows = [np.concatenate(list(tiles[i : i + columns]), axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def attribute_sheet(z: np.ndarray) -> np.ndarray:
    """All forty counterfactual pairs."""
    tiles = []
    for k, attribute in enumerate(ATTRIBUTES):
        images = [render(decode(side), 128)[0][0] for side in pair(z[k : k + 1], attribute)]
        tiles.append(tile(np.concatenate(images, axis=1), attribute))
    return grid(tiles, 5)


def emotion_sheet(z: np.ndarray) -> np.ndarray:
    """For each emotion the clearest faces among many."""
    parameters = decode(z)
    tiles = []
    for k, emotion in enumerate(EMOTIONS):
        best = np.argsort(-parameters.emotions[:, k])[:4]
        images = render(parameters[best], 128)[0]
        tiles.append(tile(np.concatenate(list(images)), emotion))
    return grid(tiles, len(EMOTIONS))


def landmark_sheet(parameters: Parameters, size: int = 384) -> np.ndarray:
    """Faces with their 106 landmarks."""
    images, points = render(parameters, size)
    for image, face in zip(images, points, strict=True):
        for x, y in face * size:
            cv2.circle(image, (round(x * 16 - 8), round(y * 16 - 8)), 26, (230, 30, 30), -1, cv2.LINE_AA, 4)
    return grid(images, 4)


def save(name: str, image: np.ndarray) -> None:
    cv2.imwrite(str(DOCS / name), image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(DOCS / name)


def main() -> None:
    plain = faces(40, seed=31)
    many = sample(4000, 32)
    save("portraits_samples.png", grid(render(decode(sample(48, 33)), 128)[0], 12))
    save("portraits_attributes.png", attribute_sheet(plain))
    save("portraits_emotions.png", emotion_sheet(many))
    save("portraits_landmarks.png", landmark_sheet(decode(sample(8, 34))))
    measured = visibility(plain[:24]).items()
    lines = [f"{name},{share:.4f},{contrast:.1f}" for name, (share, contrast) in measured]
    write_text(DOCS / "portraits_visibility.csv", "\n".join(["attribute,changed_share,contrast", *lines, ""]))


if __name__ == "__main__":
    main()
