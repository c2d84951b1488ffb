"""Facial expression: attribute and expression scores -> FACS action units -> percentages of seven emotions.

Units and prototypes follow the Facial Action Coding System and its emotion dictionary (Ekman, Friesen and
Hager 2002).
"""

import numpy as np

from hfld.attributes import attribute_index
from hfld.portraits.entailment import sigmoid

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 12, 15, 17, 20, 23, 25, 26)
"""FACS numbers, the order of every [N, 14] array of units.

1 inner brow up, 2 outer brow up, 4 brows down and together, 5 upper lid up, 6 cheeks up, 7 lids tight, 9 nose
wrinkled, 12 lip corners up, 15 lip corners down, 17 chin up, 20 lips stretched, 23 lips tight, 25 lips apart,
26 jaw down.
"""

PROTOTYPES = {
    "angry": {4: 1.0, 5: 0.5, 7: 0.45, 23: 1.0},
    "disgust": {4: 0.4, 9: 1.0, 15: 0.5, 17: 0.6},
    "fear": {1: 0.8, 2: 0.5, 4: 0.7, 5: 0.9, 20: 1.0, 25: 0.5, 26: 0.4},
    "happy": {6: 0.5, 12: 1.0},
    "sad": {1: 1.0, 4: 0.5, 15: 1.0, 17: 0.7},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.8, 25: 0.5, 26: 0.5},
}
"""Unit intensities of a full expression. 7 stays under .5 in anger, because Narrow_Eyes is 7 above .5."""

SMILE_DAMPING = {"angry": 0.9, "disgust": 0.8, "fear": 0.7, "sad": 0.95, "surprise": 0.4}
"""Share of each expression that a full smile takes away, so that emotions agree with the label Smiling."""

ONSET = 5.0
"""Steepness with which an expression score becomes an intensity."""

NEUTRAL_EVIDENCE = 0.4
TEMPERATURE = 0.12
FOREIGN = 0.25
"""emotions = softmax(evidence / TEMPERATURE): 1 for a full prototype, less FOREIGN per unit foreign to it."""

_ROW = {unit: j for j, unit in enumerate(ACTION_UNITS)}
_MOUTH = (25, 26)
_SCORED = ("angry", "disgust", "fear", "sad", "surprise")  # order of the expression scores


def _vector(emotion: str) -> np.ndarray:
    vector = np.zeros(len(ACTION_UNITS))
    for unit, intensity in PROTOTYPES[emotion].items():
        vector[_ROW[unit]] = intensity
    return vector


def _evidence_weights() -> np.ndarray:
    """[14, 6]: signed weight of each unit as evidence for each emotion but neutral."""
    weights = []
    for emotion in PROTOTYPES:
        vector = _vector(emotion)
        foreign = vector == 0
        foreign[[_ROW[unit] for unit in (*_MOUTH, 7)]] = False  # speech and squints speak against no emotion
        weights.append(vector / (vector @ vector) - FOREIGN * foreign)
    return np.stack(weights, axis=1)


_DRIVEN = np.stack([_vector(name) for name in _SCORED])  # [5, 14]
_DRIVEN[:, [_ROW[unit] for unit in _MOUTH]] = 0  # the mouth opens by its own score only
_WEIGHTS = _evidence_weights()


def intensities(margins: np.ndarray, smile: np.ndarray) -> np.ndarray:
    """[N, 5] in [0, 1] of anger, disgust, fear, sadness, surprise, from expression margins [N, 5] and the
    smile [N].

    Rising expressions share the face: each is weighted by a softmax, so that equally strong ones blend half
    and half.
    """
    shares = np.exp(ONSET * (margins - margins.max(axis=1, keepdims=True)))
    shares /= shares.sum(axis=1, keepdims=True)
    damping = np.array([SMILE_DAMPING[name] for name in _SCORED])
    return sigmoid(ONSET * margins) * shares * (1 - damping * smile[:, None])


def action_units(strengths: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Units [N, 14] in [0, 1] from attribute strengths [N, 40] and expression margins [N, 5].

    12 is exactly the strength of Smiling, 25 that of Mouth_Slightly_Open; 7 is above .5 exactly where
    Narrow_Eyes is.
    """
    smile = strengths[:, attribute_index("Smiling")]
    parted = strengths[:, attribute_index("Mouth_Slightly_Open")]
    narrow = strengths[:, attribute_index("Narrow_Eyes")]
    cheeks = strengths[:, attribute_index("High_Cheekbones")]
    drive = intensities(margins, smile)
    units = 1 - np.prod(1 - drive[:, :, None] * _DRIVEN[None], axis=1)  # [N, 14]: they add up, at most to 1
    fear, surprise = (drive[:, _SCORED.index(name)] for name in ("fear", "surprise"))
    units[:, _ROW[5]] *= 1 - narrow
    units[:, _ROW[6]] = smile * (0.5 + 0.5 * cheeks)
    units[:, _ROW[7]] = np.maximum(narrow, units[:, _ROW[7]])
    units[:, _ROW[12]] = smile
    units[:, _ROW[15]] *= 1 - smile
    units[:, _ROW[23]] *= 1 - 0.5 * parted
    units[:, _ROW[25]] = parted
    units[:, _ROW[26]] = parted * (0.1 + 0.9 * np.maximum(surprise, 0.7 * fear))
    return units


def emotion_percentages(units: np.ndarray) -> np.ndarray:
    """Percent [N, 7] in DeepFace's order, a smooth function of the units [N, 14]; rows sum to 100."""
    evidence = np.concatenate([units @ _WEIGHTS, np.full((len(units), 1), NEUTRAL_EVIDENCE)], axis=1)
    logits = (evidence - evidence.max(axis=1, keepdims=True)) / TEMPERATURE
    odds = np.exp(logits)
    return 100 * odds / odds.sum(axis=1, keepdims=True)
