"""The names that everything shares: CelebA's 40 attributes, 106 landmarks, DeepFace's 7 emotions."""

import difflib
from collections.abc import Iterable

ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips",
    "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby",
    "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male",
    "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose",
    "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair",
    "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
"""CelebA's order, which is also the order of every [N, 40] array."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""DeepFace's order, which is also the order of every [N, 7] array (percent)."""

GROUPS = {
    "hair": ("Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Receding_Hairline",
             "Straight_Hair", "Wavy_Hair"),
    "face shape": ("Chubby", "Double_Chin", "High_Cheekbones", "Oval_Face", "Big_Nose", "Pointy_Nose"),
    "eyes and brows": ("Arched_Eyebrows", "Bags_Under_Eyes", "Bushy_Eyebrows", "Narrow_Eyes"),
    "mouth": ("Big_Lips", "Mouth_Slightly_Open", "Smiling", "Wearing_Lipstick"),
    "beard": ("5_o_Clock_Shadow", "Goatee", "Mustache", "No_Beard", "Sideburns"),
    "age, gender and skin": ("Attractive", "Heavy_Makeup", "Male", "Pale_Skin", "Rosy_Cheeks", "Young"),
    "accessories": ("Eyeglasses", "Wearing_Earrings", "Wearing_Hat", "Wearing_Necklace",
                    "Wearing_Necktie", "Blurry"),
}  # fmt: skip
"""Every attribute once, grouped as people look for them."""

REGIONS = {
    "contour": tuple(range(0, 33)),
    "brows": tuple(range(33, 51)),
    "nose": tuple(range(51, 66)),
    "eyes": (*range(66, 84), 104, 105),
    "mouth": tuple(range(84, 104)),
}
"""Indices into the 106 landmarks, in the order of LaPa and JD-landmark."""

OUTER_EYE_CORNERS = (66, 79)
"""Landmarks; their distance is the inter-ocular one that errors are divided by."""

GESTURE_ATTRIBUTES = ("Smiling", "Mouth_Slightly_Open", "Narrow_Eyes")
"""The paper's Table IV."""


def attribute_index(name: str) -> int:
    """Position of `name` in ATTRIBUTES; ValueError names the nearest attribute."""
    return index_of(name, ATTRIBUTES, "attribute")


def index_of(name: str, names: Iterable[str], kind: str) -> int:
    """Position of `name` in `names`; ValueError names the kind of thing and the nearest name."""
    names = list(names)
    if name in names:
        return names.index(name)
    if name in ATTRIBUTES and set(names) < set(ATTRIBUTES):
        raise ValueError(f"{kind} {name!r} was not trained here, only {', '.join(names)}")
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)
    raise ValueError(f"unknown {kind} {name!r}; the nearest is {nearest[0]!r}")


def _mirror() -> tuple[int, ...]:
    """Where each landmark goes when the picture is flipped left to right."""
    order = list(range(32, -1, -1))
    # Each brow: five points above from outer (left brow) or inner (right brow) end, then four below.
    order += [46, 45, 44, 43, 42, 50, 49, 48, 47] + [37, 36, 35, 34, 33, 41, 40, 39, 38]
    order += [51, 52, 53, 54] + list(range(65, 54, -1))  # bridge; then wing, under the nose, wing
    # Each eye: outer corner, three above, inner corner, three below, centre.
    order += [79, 78, 77, 76, 75, 82, 81, 80, 83] + [70, 69, 68, 67, 66, 73, 72, 71, 74]
    order += [90, 89, 88, 87, 86, 85, 84, 95, 94, 93, 92, 91] + [100, 99, 98, 97, 96, 103, 102, 101]
    return tuple(order + [105, 104])


MIRROR = _mirror()
"""landmarks[:, MIRROR] with x -> 1 - x are the landmarks of the mirrored picture."""
