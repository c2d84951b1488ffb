"""What one attribute entails for others: one table, used to decode a latent and to intervene upon it."""

from typing import NamedTuple

import numpy as np

from hfld.attributes import ATTRIBUTES, attribute_index

SHARPNESS = 6.0
"""strength = sigmoid(SHARPNESS * margin), margin = score - threshold."""

LOWEST, HIGHEST = 0.02, 0.98
"""Strengths that an intervention can ask for; 0 and 1 would need infinite scores."""

FULL_BEARD = "full beard"
"""What is drawn when No_Beard is off and no kind of beard is on (`full_beard`); a cause, not an attribute."""

HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
BEARD_KINDS = ("Goatee", "Mustache", "Sideburns")


class Rule(NamedTuple):
    kind: str  # "excludes", "rivals", "replaces" or "hides"
    causes: tuple[str, ...]
    effects: tuple[str, ...]
    reason: str


ENTAILMENT = (
    Rule("excludes", BEARD_KINDS, ("No_Beard",), "each of them is a beard"),
    Rule("excludes", ("Bald",), ("Bangs", "Straight_Hair", "Wavy_Hair"),
         "a bald head has no hair to fringe or curl"),
    Rule("rivals", HAIR_COLOURS, HAIR_COLOURS, "hair has one colour: the largest score above its threshold"),
    Rule("rivals", ("Straight_Hair", "Wavy_Hair"), ("Straight_Hair", "Wavy_Hair"), "hair has one texture"),
    Rule("rivals", ("Bangs", "Receding_Hairline"), ("Bangs", "Receding_Hairline"),
         "hair falls over the hairline or leaves it bare"),
    Rule("replaces", BEARD_KINDS, ("No_Beard",),
         "lowering a kind of beard lets no full beard grow in its place: No_Beard rises as far as needed"),
    Rule("hides", ("Bald",), ("Bangs", "Straight_Hair", "Wavy_Hair", "Receding_Hairline", *HAIR_COLOURS),
         "nothing of the hair is left to read"),
    Rule("hides", ("Wearing_Hat",), ("Bald", "Bangs", "Receding_Hairline"),
         "the hat covers forehead and crown"),
    Rule("hides", (FULL_BEARD,), ("5_o_Clock_Shadow",), "stubble cannot be told under a full beard"),
)  # fmt: skip
"""The published table. Strengths are in [0, 1]; a label is on where its strength is above .5.

excludes  decoding: strength(effect) <= 1 - strength(cause). Intervening on the effect lowers the causes.
rivals    decoding: margin(i) -= max(0, largest margin of its rivals), so that at most one of them is on.
          Intervening on one lowers the scores of the others.
replaces  intervening only: lowering a cause raises the effect so that the full beard stays as it was.
hides     visible(effect) = False where strength(cause) > .5: the label keeps its value but cannot be read
          from pixels, and is not scored. Interventions do not remove the cover.

CelebA's 5_o_Clock_Shadow goes with No_Beard in 28 % of its cases (stubble), so it entails nothing. Hair
colours and Receding_Hairline keep their value under Bald (brows, beard and the rim keep the colour), hidden.
"""


def _pairs(kind: str) -> tuple[tuple[int, int], ...]:
    """(cause, effect) indices of every rule of one kind; full_beard is index 40."""
    names = (*ATTRIBUTES, FULL_BEARD)
    return tuple(
        (names.index(cause), names.index(effect))
        for rule in ENTAILMENT
        if rule.kind == kind
        for cause in rule.causes
        for effect in rule.effects
        if cause != effect
    )


_EXCLUDES, _RIVALS, _HIDES = _pairs("excludes"), _pairs("rivals"), _pairs("hides")
_KINDS = [attribute_index(name) for name in BEARD_KINDS]
_NO_BEARD = attribute_index("No_Beard")


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def margin_of(strength: np.ndarray | float) -> np.ndarray:
    """Score minus threshold at which an attribute has this strength."""
    strength = np.asarray(strength, dtype=np.float64)
    return (np.log(strength) - np.log1p(-strength)) / SHARPNESS


def resolve(margins: np.ndarray) -> np.ndarray:
    """Strengths [N, 40] that do not contradict each other, from margins [N, 40] (score minus threshold)."""
    rivalry = np.zeros_like(margins)
    for cause, effect in _RIVALS:
        np.maximum(rivalry[:, effect], margins[:, cause], out=rivalry[:, effect])
    strengths = sigmoid(SHARPNESS * (margins - rivalry))
    for cause, effect in _EXCLUDES:
        np.minimum(strengths[:, effect], 1 - strengths[:, cause], out=strengths[:, effect])
    return strengths


def full_beard(strengths: np.ndarray) -> np.ndarray:
    """[N]: how strongly a full beard is drawn, from resolved strengths [N, 40]."""
    return np.clip(1 - strengths[:, _NO_BEARD] - strengths[:, _KINDS].max(axis=1), 0, 1)


def visibility(strengths: np.ndarray) -> np.ndarray:
    """[N, 40] bool: False where another attribute hides this one (from resolved strengths [N, 40])."""
    on = np.concatenate([strengths, full_beard(strengths)[:, None]], axis=1) > 0.5
    visible = np.ones(strengths.shape, dtype=bool)
    for cause, effect in _HIDES:
        visible[:, effect] &= ~on[:, cause]
    return visible


def entailed(attribute: str) -> tuple[str, ...]:
    """Attributes whose scores an intervention on `attribute` may also change."""
    k = attribute_index(attribute)
    found = {cause for cause, effect in _EXCLUDES if effect == k}
    found |= {effect for cause, effect in _RIVALS if cause == k}
    found |= {_NO_BEARD} if k in _KINDS else set()
    return tuple(ATTRIBUTES[i] for i in sorted(found))


def intervene(margins: np.ndarray, attribute: str, value: np.ndarray) -> np.ndarray:
    """Margins [N, 40] after setting `attribute` to the strengths `value` [N], with what the table entails.

    Rivals and excluding causes are lowered to at most 1 - value, stretched so that the lowest value leaves
    them alone.
    """
    k = attribute_index(attribute)
    value = np.clip(value, LOWEST, HIGHEST)
    room = margin_of(np.clip((HIGHEST - value) / (HIGHEST - LOWEST), LOWEST, 1 - 1e-12))
    changed = margins.copy()
    changed[:, k] = margin_of(value)
    causes = {cause for cause, effect in (*_EXCLUDES, *_RIVALS) if effect == k}
    for i in causes:
        np.minimum(changed[:, i], room, out=changed[:, i])
    if k in _KINDS:
        before = full_beard(resolve(margins))
        kinds = resolve(changed)[:, _KINDS].max(axis=1)
        needed = margin_of(np.clip(1 - before - kinds, LOWEST, HIGHEST))
        lowered = changed[:, k] < margins[:, k]
        raised = np.maximum(changed[:, _NO_BEARD], needed)
        changed[:, _NO_BEARD] = np.where(lowered, raised, changed[:, _NO_BEARD])
    return changed
