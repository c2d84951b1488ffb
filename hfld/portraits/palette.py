"""Colours of one portrait, RGB 0..255."""

from types import SimpleNamespace

import numpy as np

from hfld.portraits.head import Sheet, smoothstep

_SKIN = np.array([
    (78, 48, 36), (112, 71, 50), (150, 99, 70), (188, 134, 100), (220, 170, 136), (240, 200, 172),
], dtype=np.float32)  # fmt: skip
_HAIR = {
    "Black_Hair": (22, 19, 24), "Brown_Hair": (98, 62, 38), "Blond_Hair": (226, 188, 108),
    "Gray_Hair": (176, 178, 184),
}  # fmt: skip


def mix(first: np.ndarray, second: np.ndarray | tuple, share: float) -> np.ndarray:
    """`first` moved towards `second` by `share`."""
    return np.asarray(first, dtype=np.float32) * (1 - share) + np.asarray(second, dtype=np.float32) * share


def _disc(a: float, b: float, lightness: float, chroma: float) -> np.ndarray:
    """A colour from two opponent axes, so that hue has no seam."""
    norm = np.hypot(a, b)
    a, b = (a, b) / max(norm / 2.0, 1.0) if norm > 2 else (a, b)
    red, green, blue = (
        lightness + chroma * (a + 0.4 * b),
        lightness - chroma * 0.6 * a + 0.25 * chroma * b,
        lightness - chroma * b,
    )
    return np.clip(np.array([red, green, blue], dtype=np.float32), 8, 250)


def palette(sheet: Sheet) -> SimpleNamespace:
    """Every base colour of the portrait."""
    v = sheet.value
    place = np.clip(3.15 + 1.25 * v("skin_tone"), 0, 5 - 1e-3)
    low = int(place)
    skin = mix(_SKIN[low], _SKIN[low + 1], place - low)
    skin = skin * np.array([1 + 0.025 * v("skin_hue"), 1.0, 1 - 0.03 * v("skin_hue")], dtype=np.float32)
    skin = mix(skin, (246, 230, 226), 0.74 * sheet["Pale_Skin"])
    skin = mix(skin, skin.mean() * np.array([1.0, 0.98, 0.96]), 0.18 * (1 - sheet["Young"]))

    hue = smoothstep(v("hair_tone"), -1.5, 1.5)
    plain = mix((92, 30, 40), (186, 84, 34), hue)  # auburn to ginger: the hair that no label names
    weights = np.array([sheet[name] ** 2 for name in _HAIR], dtype=np.float32) * np.array(
        [1.0, 0.9, 1.15, 1.6]
    )
    rest = max(0.0, 1 - weights.max() * 1.15)
    hair = (weights @ np.array(list(_HAIR.values()), dtype=np.float32) + rest * plain) / (
        weights.sum() + rest
    )
    hair = hair * (1 + 0.07 * v("hair_tone"))

    lip = mix(skin * np.array([0.86, 0.62, 0.60]), (176, 92, 88), 0.28)
    lip = mix(lip, (196, 22, 52), 0.92 * sheet["Wearing_Lipstick"])
    iris = np.clip(
        np.array([86, 84, 72])
        + 34 * v("eye_a") * np.array([0.9, 0.1, -1.0])
        + 26 * v("eye_b") * np.array([-0.6, 0.5, 0.9]),
        20,
        190,
    )
    accessory = smoothstep(v("accessory"), -1.6, 1.6)
    return SimpleNamespace(
        skin=skin,
        hair=np.clip(hair, 8, 245),
        beard=np.clip(hair * 0.78, 6, 220),
        brow=np.clip(mix(hair * 0.62, (46, 32, 26), 0.35), 6, 200),
        lip=lip,
        iris=iris.astype(np.float32),
        cloth=_disc(v("cloth_a"), v("cloth_b"), 92 + 22 * v("cloth_l"), 34),
        back=_disc(v("back_a"), v("back_b"), 150 + 18 * v("back_l"), 22),
        frame=mix((24, 22, 28), (132, 52, 36), accessory),
        hat=mix((30, 62, 104), (158, 42, 46), accessory),
        metal=mix((232, 190, 84), (214, 218, 226), accessory),
    )
