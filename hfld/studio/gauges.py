"""What an edit did to the face, as the independent judges read it, and whether that is more than a floor.

The floor is what the same judges report when the edit is exact: rendered portraits and their counterfactuals,
which keep person and expression by construction. Where no counterfactual is known (photographs), it is what
other noise inputs of the generator do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from hfld.attributes import ATTRIBUTES, EMOTIONS, REGIONS, attribute_index
from hfld.evaluation.judges import Readings
from hfld.evaluation.judges import read as read_judge
from hfld.evaluation.quantities import cosine, point_distance, total_variation
from hfld.images import to_tensor
from hfld.studio.engine import Engine

SIDE_EFFECTS = 5
FACES = 16  # of which the floor is made
FLOOR_SEED = 20_261
QUANTILE = 0.9  # nine of ten exact edits disturb less than the floor
AMBER = 2.0  # up to twice the floor
NEAR, FAR = 0.15, 0.35  # distance of the reached score from the target: green, amber


@dataclass(frozen=True)
class Disturbance:
    """What pairs of readings differ in: one value per pair."""

    drift: Mapping[str, np.ndarray]  # "all" and each region -> [N] px
    emotion: np.ndarray  # [N] total variation, percentage points
    scores: np.ndarray  # [N, 40] absolute change
    identity: np.ndarray  # [N] 1 - cosine


@dataclass(frozen=True)
class Floor:
    """What nine of ten exact edits stay below."""

    drift: Mapping[str, float]  # "all" and each region -> px
    emotion: float  # percentage points
    scores: np.ndarray  # [40]
    identity: float  # 1 - cosine


@dataclass(frozen=True)
class Gauge:
    """One reading before and after; its light is green, amber or red, or empty without a floor."""

    name: str
    before: float
    after: float
    light: str = ""


@dataclass(frozen=True)
class Gauges:
    """All readings of one edit."""

    targets: tuple[Gauge, ...]  # edited attributes: the judge's score
    asked: Mapping[str, float]  # attribute -> target
    side_effects: tuple[Gauge, ...]  # the largest changes of other attributes' scores
    emotions: tuple[Gauge, ...]  # seven, in percent
    emotion_change: Gauge  # from 0 to the total variation, percentage points
    drift: tuple[Gauge, ...]  # from 0 to the mean landmark drift, px: "all", then regions
    identity: Gauge  # from 1 to the cosine
    floor: Mapping[str, float] = field(
        default_factory=dict
    )  # name of a drift, "emotion", "identity" -> value


def disturbance(before: Readings, after: Readings, *, size: int) -> Disturbance:
    """Differences between N pairs of readings; `size` is the image side in px."""
    distance = point_distance(before.landmarks, after.landmarks, size)
    regions = {"all": slice(None)} | {name: list(points) for name, points in REGIONS.items()}
    return Disturbance(
        drift={name: distance[:, points].mean(axis=1) for name, points in regions.items()},
        emotion=total_variation(before.emotions, after.emotions),
        scores=np.abs(after.scores - before.scores),
        identity=1 - cosine(before.identity, after.identity),
    )


def read_gauges(
    asked: Mapping[str, float],  # attribute -> target
    before: Readings,  # of the original, N = 1
    after: Readings,  # of the edited picture, N = 1
    *,
    size: int,  # image side, px
    floor: Floor | None = None,  # of exact edits of the same attributes; None: no lights
) -> Gauges:
    """Compare the readings of two pictures with each other and with the floor."""
    found = disturbance(before, after, size=size)
    scores = [(float(a), float(b)) for a, b in zip(before.scores[0], after.scores[0], strict=True)]
    columns = {name: attribute_index(name) for name in asked}
    order = [k for k in np.argsort(-found.scores[0], kind="stable") if k not in columns.values()]
    return Gauges(
        targets=tuple(
            Gauge(name, *scores[k], _light(abs(scores[k][1] - asked[name]), NEAR, FAR))
            for name, k in columns.items()
        ),
        asked=dict(asked),
        side_effects=tuple(
            Gauge(ATTRIBUTES[k], *scores[k], _against(found.scores[0, k], floor and floor.scores[k]))
            for k in order[:SIDE_EFFECTS]
        ),
        emotions=tuple(
            Gauge(name, float(before.emotions[0, e]), float(after.emotions[0, e]))
            for e, name in enumerate(EMOTIONS)
        ),
        emotion_change=_gauge("emotion", found.emotion, floor and floor.emotion),
        drift=tuple(
            _gauge(name, values, floor and floor.drift[name]) for name, values in found.drift.items()
        ),
        identity=Gauge(
            "identity",
            1.0,
            1 - float(found.identity[0]),
            _against(found.identity[0], floor and floor.identity),
        ),
        floor={} if floor is None else _as_gauged(floor),
    )


def measure_floor(engine: Engine, asked: Mapping[str, float], *, faces: int = FACES) -> Floor:
    """The floor of exact edits of the same attributes, from one end to the end that is asked for.

    Needs judges. Takes about half a second of rendering; keep it.
    """
    z = engine.models.latents(faces, seed=FLOOR_SEED, split="validation")
    if engine.world is None:
        ws = engine.models.ws(z)
        with torch.inference_mode():
            pair = [engine.models.generator.synthesis(ws, noise=noise) for noise in ("fixed", "random")]
        size = pair[0].shape[-1]
        readings = [engine.judges.measure(x.float().clamp(-1, 1)) for x in pair]
        return _floor_of(disturbance(*readings, size=size))
    start = end = z.numpy()
    for attribute, target in asked.items():
        side = float(target > 0.5)
        start = engine.world.counterfactual(start, attribute, 1 - side)
        end = engine.world.counterfactual(end, attribute, side)
    images = [engine.world.truth(latents).images for latents in (start, end)]
    return _floor_of(disturbance(*(read(engine, one) for one in images), size=images[0].shape[1]))


def read(engine: Engine, images: np.ndarray) -> Readings:
    """The judges' readings of pictures uint8 [N, H, W, 3]."""
    return engine.judges.measure(to_tensor(images).to(engine.models.device))


def read_points(engine: Engine, image: np.ndarray) -> np.ndarray:
    """The landmark judge's points [106, 2] (x, y) / side of a picture uint8 [H, W, 3], without the others."""
    images = to_tensor(image[None]).to(engine.models.device)
    return read_judge(engine.judges.landmarks, images).float().cpu().numpy().reshape(-1, 2)


def _as_gauged(floor: Floor) -> dict[str, float]:
    return {**floor.drift, "emotion": floor.emotion, "identity": 1 - floor.identity}


def _floor_of(pairs: Disturbance) -> Floor:
    return Floor(
        drift={name: float(np.quantile(values, QUANTILE)) for name, values in pairs.drift.items()},
        emotion=float(np.quantile(pairs.emotion, QUANTILE)),
        scores=np.quantile(pairs.scores, QUANTILE, axis=0),
        identity=float(np.quantile(pairs.identity, QUANTILE)),
    )


def _gauge(name: str, values: np.ndarray, limit: float | None) -> Gauge:
    return Gauge(name, 0.0, float(values[0]), _against(values[0], limit))


def _against(value: float, limit: float | None) -> str:
    return "" if limit is None else _light(float(value), float(limit), AMBER * float(limit))


def _light(value: float, green: float, amber: float) -> str:
    return "green" if value <= green else "amber" if value <= amber else "red"
