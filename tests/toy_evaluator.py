"""A world in which every reading of an image is known: toy generator, linear judges, and an exact truth."""

import numpy as np
import torch
from torch import Tensor, nn
from toy_world import SIDE, W_DIM, directions_of_attributes, toy_models

from hfld.attributes import attribute_index
from hfld.evaluation.evaluator import Evaluator
from hfld.evaluation.judges import Judges
from hfld.portraits.world import Truth


class LinearJudge(nn.Module):
    """Reads `readout` @ w back from the pixels; kind sigmoid (scores), softmax (percent) or plain."""

    def __init__(self, pixels: Tensor, readout: Tensor, kind: str, bias: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(len(pixels), len(readout))
        with torch.no_grad():
            self.linear.weight.copy_(readout @ pixels.T)
            self.linear.bias.fill_(bias)
        self.kind = kind

    def forward(self, images: Tensor) -> Tensor:
        x = self.linear(images.flatten(1))
        return {"sigmoid": x.sigmoid, "softmax": lambda: 100 * x.softmax(1), "plain": lambda: x}[self.kind]()


class ToyEditor:
    """Moves coordinate `attribute` of w, and `drag` times coordinate 11, which moves emotions and
    landmarks.
    """

    def __init__(self, *, gain: float, drag: float) -> None:
        self.gain, self.drag = gain, drag

    def edit(self, ws: Tensor, attribute: str, strength: Tensor | float) -> Tensor:
        step = torch.zeros(W_DIM)
        step[attribute_index(attribute)], step[11] = self.gain, self.gain * self.drag
        return ws + torch.as_tensor(strength).reshape(-1, 1, 1) * step


class ToyTruth:
    """The exact counterfactual moves nothing but the attribute's own coordinate."""

    def __init__(self, models) -> None:
        self.models = models

    def counterfactual(self, z: np.ndarray, attribute: str, value: float) -> np.ndarray:
        z = z.copy()
        z[:, attribute_index(attribute)] = 4 * (value - 0.5)
        return z

    def truth(self, z: np.ndarray) -> Truth:
        from hfld.images import to_uint8

        w = torch.as_tensor(z)
        images = self.models.images(self.models.ws(w))
        judges = toy_judges(self.models)
        readings = judges.measure(images)
        labels = readings.scores > 0.5
        visible = np.ones_like(labels)
        visible[:, 5] = z[:, 4] < 0.8  # attribute 4 (Bald) hides attribute 5 (Bangs)
        return Truth(
            to_uint8(images.clamp(-1, 1)),
            readings.landmarks,
            readings.emotions,
            readings.scores,
            labels,
            visible,
        )


def toy_judges(models) -> Judges:
    pixels = models.generator.pixels.detach()
    scores = directions_of_attributes()
    emotions = torch.zeros(7, W_DIM)
    emotions[3, 11], emotions[6, 10] = 2.0, 0.5
    points = torch.zeros(212, W_DIM)
    points[168:208, 11] = 0.02  # the mouth, 84..103
    generator = torch.Generator().manual_seed(8)
    landmarks = LinearJudge(pixels, points, "plain")
    with torch.no_grad():
        landmarks.linear.bias.copy_(torch.rand(212, generator=generator))
    return Judges(
        attributes=LinearJudge(pixels, scores, "sigmoid"),
        tuning=LinearJudge(pixels, 1.1 * scores, "sigmoid"),
        emotion=LinearJudge(pixels, emotions, "softmax"),
        landmarks=landmarks,
        identity=LinearJudge(pixels, torch.eye(W_DIM), "plain", bias=0.1),
    )


def toy_evaluator(*, exact: bool = True) -> Evaluator:
    models = toy_models()
    return Evaluator(
        models,
        toy_judges(models),
        size=SIDE,
        world=ToyTruth(models) if exact else None,
        batch=16,
        precision="fp32",
        progress=False,
    )


def toy_editors() -> dict[str, ToyEditor]:
    return {
        "baseline": ToyEditor(gain=3.0, drag=0.8),
        "hfld": ToyEditor(gain=2.0, drag=0.2),
        "random": ToyEditor(gain=-0.4, drag=3.0),
    }
