"""What an edit did to the face, as the independent judges read it, and whether that is more than a floor.

The floor is what the same judges report when the edit is exact: rendered portraits and their counterfactuals,
which keep person and expression by construction. Where no counterfactual is known (photographs), it is what
other noise inputs of the generator do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from hfld.attributes import ATTRIBUTES, EMOTIONS, REGIONS, attribute_index
from hfld.evaluation.judges import Readings, read
from hfld.evaluation.quantities import cosine, point_distance, total_variation
from hfld.images import to_tensor
from hfld.studio.engine import Engine

SIDE_EFFECTS = 5
FLOOR_FACES = 16
FLOOR_SEED = 20_261
QUANTILE = 0.9  # nine of ten exact edits disturb less than the floor
AMBER = 2.0  # up to twice the floor
DRIFTS = {"all": slice(None)} | {name: list(points) for name, points in REGIONS.items()}  # of 106 landmarks
NEAR, FAR = 0.15, 0.35  # distance of the reached score from the target: green, amber


Floor = Mapping[str, np.ndarray]
"""What nine of ten exact edits stay below, under the keys of `disturbance`."""


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
    floor: Mapping[str, float]  # of each drift, "emotion" and "identity"; empty where there is none


def disturbance(before: Readings, after: Readings, *, size: int) -> dict[str, np.ndarray]:
    """Differences between N pairs of readings; `size` is the image side in px.

    "all" and each region: mean landmark drift [N] px; "emotion": total variation [N], percentage points;
    "scores": absolute change [N, 40]; "identity": 1 - cosine [N].
    """
    distance = point_distance(before.landmarks, after.landmarks, size)
    return {name: distance[:, points].mean(axis=1) for name, points in DRIFTS.items()} | {
        "emotion": total_variation(before.emotions, after.emotions),
        "scores": np.abs(after.scores - before.scores),
        "identity": 1 - cosine(before.identity, after.identity),
    }


def read_gauges(
    asked: Mapping[str, float],  # attribute -> target
    before: Readings,  # of the original, N = 1
    after: Readings,  # of the edited picture, N = 1
    *,
    size: int,  # image side, px
    floor: Floor | None = None,  # of exact edits of the same attributes; None: no lights
) -> Gauges:
    """Compare the readings of two pictures with each other and with the floor."""
    found = {name: values[0] for name, values in disturbance(before, after, size=size).items()}
    scores = [(float(a), float(b)) for a, b in zip(before.scores[0], after.scores[0], strict=True)]
    columns = {name: attribute_index(name) for name in asked}
    largest_first = np.argsort(-found["scores"], kind="stable")
    others = [k for k in largest_first if k not in columns.values()]

    shown = {} if floor is None else {name: float(floor[name]) for name in (*DRIFTS, "emotion")}
    if floor is not None:
        shown["identity"] = 1 - float(floor["identity"])

    def light(name: str, k: int | tuple[()] = ()) -> str:
        if floor is None:
            return ""
        limit = float(floor[name][k])
        return _light(float(found[name][k]), limit, AMBER * limit)

    return Gauges(
        targets=tuple(
            Gauge(name, *scores[k], _light(abs(scores[k][1] - asked[name]), NEAR, FAR))
            for name, k in columns.items()
        ),
        asked=dict(asked),
        side_effects=tuple(
            Gauge(ATTRIBUTES[k], *scores[k], light("scores", k)) for k in others[:SIDE_EFFECTS]
        ),
        emotions=tuple(
            Gauge(name, float(before.emotions[0, e]), float(after.emotions[0, e]))
            for e, name in enumerate(EMOTIONS)
        ),
        emotion_change=Gauge("emotion", 0.0, float(found["emotion"]), light("emotion")),
        drift=tuple(Gauge(name, 0.0, float(found[name]), light(name)) for name in DRIFTS),
        identity=Gauge("identity", 1.0, 1 - float(found["identity"]), light("identity")),
        floor=shown,
    )


def measure_floor(engine: Engine, asked: Mapping[str, float]) -> Floor:
    """The floor of exact edits of the same attributes, from one end to the end that is asked for.

    Needs judges. Takes about half a second of rendering; keep it.
    """
    z = engine.models.latents(FLOOR_FACES, seed=FLOOR_SEED, split="validation")
    if engine.world is None:
        ws = engine.models.ws(z)
        with torch.inference_mode():
            pair = [engine.models.generator.synthesis(ws, noise=noise) for noise in ("fixed", "random")]
        size = pair[0].shape[-1]
        readings = [engine.judges.measure(x.float().clamp(-1, 1)) for x in pair]
    else:
        start = end = z.numpy()
        for attribute, target in asked.items():
            side = float(target > 0.5)
            start = engine.world.counterfactual(start, attribute, 1 - side)
            end = engine.world.counterfactual(end, attribute, side)
        images = [engine.world.truth(latents).images for latents in (start, end)]
        size = images[0].shape[1]
        readings = [read_judges(engine, one) for one in images]
    pairs = disturbance(*readings, size=size)
    return {name: np.quantile(values, QUANTILE, axis=0) for name, values in pairs.items()}


def read_judges(engine: Engine, images: np.ndarray) -> Readings:
    """The judges' readings of pictures uint8 [N, H, W, 3]."""
    return engine.judges.measure(to_tensor(images).to(engine.models.device))


def read_points(engine: Engine, image: np.ndarray) -> np.ndarray:
    """The landmark judge's points [106, 2] (x, y) / side of a picture uint8 [H, W, 3], without the others."""
    images = to_tensor(image[None]).to(engine.models.device)
    return read(engine.judges.landmarks, images).float().cpu().numpy().reshape(-1, 2)


def _light(value: float, green: float, amber: float) -> str:
    return "green" if value <= green else "amber" if value <= amber else "red"
