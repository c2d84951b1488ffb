"""A portrait's latent z ~ N(0, I_80) and its parameters: attribute strengths, action units and nuisance.

The first 45 latents are mixed by a Gaussian copula into 40 attribute scores and 5 expression scores with
CelebA's prevalences and co-occurrences; the other 35 are independent nuisance (identity geometry, colours,
light, pose).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist

import numpy as np

from hfld.attributes import ATTRIBUTES, attribute_index, index_of
from hfld.portraits.copula import EXPRESSIONS, SCORES, Copula, counted_frequencies, load_copula
from hfld.portraits.entailment import ENTAILMENT, entailed, full_beard, intervene, resolve, visibility
from hfld.portraits.expression import ACTION_UNITS, action_units, emotion_percentages

__all__ = [
    "ACTION_UNITS", "ENTAILMENT", "EXPRESSIONS", "INDEPENDENT_PREVALENCE", "NUISANCES", "SCORES", "Z_DIM",
    "Parameters", "counterfactual", "decode", "entailed", "latent_of_scores", "sample", "scores_of_latent",
]  # fmt: skip

NUISANCES = (
    "face_width", "face_height", "jaw_width", "chin_length", "eye_size", "eye_spacing", "eye_tilt",
    "brow_height", "brow_thickness", "brow_tilt", "nose_length", "nose_width", "mouth_width", "lip_fullness",
    "skin_tone", "skin_hue", "hair_length", "hair_volume", "hair_tone", "hair_part", "eye_a", "eye_b",
    "cloth_a", "cloth_b", "cloth_l", "back_a", "back_b", "back_l", "light_x", "light_strength", "yaw",
    "pitch", "gaze_x", "gaze_y", "accessory",
)  # fmt: skip
"""Order of every [N, 35] array of nuisance; standard normal, softly limited to +-2.5."""

Z_DIM = len(SCORES) + len(NUISANCES)

YAW_DEGREES, PITCH_DEGREES, YAW_LIMIT = 14.0, 8.0, 32.0
"""Standard deviations of the head pose, and where yaw ends."""

INDEPENDENT_PREVALENCE = {
    "5_o_Clock_Shadow": 0.30, "Arched_Eyebrows": 0.45, "Attractive": 0.50, "Bags_Under_Eyes": 0.40,
    "Bald": 0.15, "Bangs": 0.30, "Big_Lips": 0.45, "Big_Nose": 0.45, "Black_Hair": 0.20, "Blond_Hair": 0.20,
    "Blurry": 0.12, "Brown_Hair": 0.20, "Bushy_Eyebrows": 0.40, "Chubby": 0.30, "Double_Chin": 0.30,
    "Eyeglasses": 0.30, "Goatee": 0.18, "Gray_Hair": 0.18, "Heavy_Makeup": 0.45, "High_Cheekbones": 0.50,
    "Male": 0.50, "Mouth_Slightly_Open": 0.50, "Mustache": 0.18, "Narrow_Eyes": 0.30, "No_Beard": 0.42,
    "Oval_Face": 0.45, "Pale_Skin": 0.30, "Pointy_Nose": 0.45, "Receding_Hairline": 0.25, "Rosy_Cheeks": 0.35,
    "Sideburns": 0.18, "Smiling": 0.35, "Straight_Hair": 0.30, "Wavy_Hair": 0.30, "Wearing_Earrings": 0.40,
    "Wearing_Hat": 0.15, "Wearing_Lipstick": 0.45, "Wearing_Necklace": 0.35, "Wearing_Necktie": 0.30,
    "Young": 0.55,
}  # fmt: skip
"""Prevalences of the final labels in `independent` mode: enough of each for a judge, covers kept moderate."""

INDEPENDENT_EXPRESSION_SPREAD = 1.3
"""Standard deviation of the expression scores in `independent` mode."""

CALIBRATION_DRAWS, CALIBRATION_SEED = 20_000, 90_210
"""Simulation that finds the raw prevalences which give the stated final ones after ENTAILMENT."""


@dataclass(frozen=True, eq=False)
class Parameters:
    """A batch of N portraits, ready to be drawn.

    strengths [N, 40] in [0, 1] after entailment; units [N, 14] in [0, 1]; nuisance [N, 35] in +-2.5. All
    float32.
    """

    strengths: np.ndarray
    units: np.ndarray
    nuisance: np.ndarray

    def __len__(self) -> int:
        return len(self.strengths)

    def __getitem__(self, index: int | slice | np.ndarray) -> "Parameters":
        """The chosen portraits; an int gives a batch of one."""
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"index {index} is outside a batch of {len(self)}")
            index = [index]
        return Parameters(self.strengths[index], self.units[index], self.nuisance[index])

    @cached_property
    def labels(self) -> np.ndarray:
        """[N, 40] bool."""
        return self.strengths > 0.5

    @cached_property
    def visible(self) -> np.ndarray:
        """[N, 40] bool: False where pixels cannot show the label (ENTAILMENT, `hides`); not scored there."""
        return visibility(self.strengths)

    @cached_property
    def full_beard(self) -> np.ndarray:
        """[N] in [0, 1]: No_Beard is off and neither goatee, mustache nor sideburns account for it."""
        return full_beard(self.strengths)

    @cached_property
    def emotions(self) -> np.ndarray:
        """[N, 7] percent, rows sum to 100."""
        return emotion_percentages(self.units.astype(np.float64)).astype(np.float32)

    @cached_property
    def pose(self) -> np.ndarray:
        """[N, 2] degrees: yaw, pitch."""
        yaw = np.clip(YAW_DEGREES * self.value("yaw"), -YAW_LIMIT, YAW_LIMIT)
        return np.stack([yaw, PITCH_DEGREES * self.value("pitch")], axis=1)

    def strength(self, attribute: str) -> np.ndarray:
        """[N] strengths of one attribute."""
        return self.strengths[:, attribute_index(attribute)]

    def unit(self, number: int) -> np.ndarray:
        """[N] intensities of one action unit by its FACS number."""
        if number not in ACTION_UNITS:
            raise ValueError(f"unknown action unit {number!r}; expected one of {ACTION_UNITS}")
        return self.units[:, ACTION_UNITS.index(number)]

    def value(self, nuisance: str) -> np.ndarray:
        """[N] values of one nuisance parameter."""
        return self.nuisance[:, index_of(nuisance, NUISANCES, "nuisance parameter")]


def sample(n: int, seed: int, *, mode: str = "natural", coupling: float = 1.0) -> np.ndarray:
    """n latents z [n, 80] float32; the first rows do not depend on n.

    natural: N(0, I) at coupling 1, so attributes co-occur as counted; `coupling` scales their correlations
    (0 independent, above 1 stronger) at the counted prevalences; above 1 the hair colours, whose scores
    correlate while their labels exclude each other, miss theirs (Black_Hair by .18 at 1.5).
    independent: INDEPENDENT_PREVALENCE, no correlation but what ENTAILMENT forces.
    """
    if n < 0:
        raise ValueError(f"n is a number of latents of at least 0, got {n}")
    if not np.isfinite(coupling) or coupling < 0:
        raise ValueError(f"coupling is a finite factor of at least 0, got {coupling}")
    z = np.random.default_rng(seed).standard_normal((n, Z_DIM))
    normal, rest = z[:, : len(SCORES)], z[:, len(SCORES) :]
    if mode == "natural":
        if coupling != 1.0:
            scores = normal @ load_copula().coupled(coupling).factor.T + _natural_shift(coupling)
            z = latent_of_scores(scores, rest)
    elif mode == "independent":
        z = latent_of_scores(_independent_scores(normal, _independent_shift()), rest)
    else:
        raise ValueError(f"unknown mode {mode!r}; expected 'natural' or 'independent'")
    return z.astype(np.float32)


def scores_of_latent(z: np.ndarray) -> np.ndarray:
    """Raw scores u [N, 45] float64 before entailment: u = z[:, :45] @ L.T, each N(0, 1) for z ~ N(0, I)."""
    return _latents(z)[:, : len(SCORES)] @ load_copula().factor.T


def latent_of_scores(scores: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """z [N, 80] float64 whose raw scores are `scores` [N, 45] and whose last 35 values are `rest`."""
    return np.concatenate([scores @ load_copula().inverse.T, rest], axis=1)


def decode(z: np.ndarray) -> Parameters:
    """Parameters of the latents z [N, 80]; deterministic."""
    z = _latents(z)
    margins = z[:, : len(SCORES)] @ load_copula().factor.T - load_copula().thresholds
    strengths = resolve(margins[:, : len(ATTRIBUTES)])
    units = action_units(strengths, margins[:, len(ATTRIBUTES) :])
    nuisance = _softly_limited(z[:, len(SCORES) :])
    return Parameters(*(array.astype(np.float32) for array in (strengths, units, nuisance)))


def counterfactual(z: np.ndarray, attribute: str, value: float | np.ndarray) -> np.ndarray:
    """z' [N, 80] float32: the same portraits with `attribute` at strength `value` (a number or [N], within
    [0, 1]).

    An intervention: only that attribute's score and those that ENTAILMENT ties to it (`entailed`) change; the
    other scores, hence the expression, and all nuisance stay. Values are clipped to [.02, .98].
    """
    attribute_index(attribute)
    z = _latents(z)
    value = np.asarray(value, dtype=np.float64)
    if value.shape not in ((), (len(z),)):
        raise ValueError(f"value must be a number or have shape ({len(z)},), got {value.shape}")
    if not np.all((value >= 0) & (value <= 1)):
        raise ValueError(f"value must lie within [0, 1], got {value.min()} to {value.max()}")
    margins = scores_of_latent(z)[:, : len(ATTRIBUTES)] - load_copula().thresholds[: len(ATTRIBUTES)]
    change = np.zeros((len(z), len(SCORES)))
    change[:, : len(ATTRIBUTES)] = intervene(margins, attribute, np.broadcast_to(value, len(z))) - margins
    result = z.copy()
    result[:, : len(SCORES)] += change @ load_copula().inverse.T
    return result.astype(np.float32)


def _latents(z: np.ndarray) -> np.ndarray:
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2 or z.shape[1] != Z_DIM:
        raise ValueError(f"z must have shape [N, {Z_DIM}], got {list(z.shape)}")
    return z


def _softly_limited(x: np.ndarray) -> np.ndarray:
    """x within +-1.5, bending to +-2.5 beyond."""
    size = np.abs(x)
    return np.sign(x) * np.where(size < 1.5, size, 1.5 + np.tanh(size - 1.5))


def _independent_scores(normal: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Scores [N, 45] with independent attributes and wide expressions, from standard normals [N, 45]."""
    spread = np.ones(len(SCORES))
    spread[len(ATTRIBUTES) :] = INDEPENDENT_EXPRESSION_SPREAD
    return normal * spread + shift


@lru_cache(maxsize=1)
def _independent_shift() -> np.ndarray:
    """[45]: added to independent scores so that the final labels have INDEPENDENT_PREVALENCE."""
    target = np.array([INDEPENDENT_PREVALENCE[name] for name in ATTRIBUTES])
    independent = Copula(thresholds=load_copula().thresholds, correlation=np.eye(len(SCORES)))
    return _calibrated_shift(independent, target)


@lru_cache(maxsize=16)
def _natural_shift(coupling: float) -> np.ndarray:
    """[45]: added to scores of another coupling so that the final labels keep the counted prevalences."""
    return _calibrated_shift(load_copula().coupled(coupling), np.diag(counted_frequencies()))


def _calibrated_shift(copula: Copula, target: np.ndarray) -> np.ndarray:
    """Shift [45] of the attribute scores after which labels reach the prevalences `target` [40]; expressions
    stay.

    Starts at the exact shift without entailment and corrects it by simulation.
    """
    count = len(ATTRIBUTES)
    quantile = NormalDist().inv_cdf
    normal = np.random.default_rng(CALIBRATION_SEED).standard_normal((CALIBRATION_DRAWS, len(SCORES)))
    margins = (normal @ copula.factor.T - copula.thresholds)[:, :count]
    wanted = np.array([quantile(p) for p in target])
    shift = copula.thresholds[:count] + wanted
    for _ in range(12):
        reached = np.clip((resolve(margins + shift) > 0.5).mean(axis=0), 1e-4, 1 - 1e-4)
        shift += np.clip(wanted - [quantile(p) for p in reached], -0.5, 0.5)
    return np.concatenate([shift, np.zeros(len(EXPRESSIONS))])
