"""DeepFace's networks of identity, built by DeepFace itself (the extra `photos`), without their weights."""

import importlib

from torch import Tensor, nn

from hfld.attributes import index_of

SIDES = {"ArcFace": 112, "GhostFaceNet": 112}
"""Name there -> side of the pictures that the network takes, px."""


class DeepFaceIdentity(nn.Module):
    """Faces [N, 3, S, S] in [-1, 1] -> embeddings [N, E]."""

    def __init__(
        self,
        *,
        model: str = "ArcFace",  # a key of SIDES
    ) -> None:
        super().__init__()
        index_of(model, SIDES, "identity network of DeepFace")
        try:
            source = importlib.import_module(f"deepface.models.facial_recognition.pytorch.{model}")
        except ImportError as error:
            raise ImportError(f"{error}; pip install 'hfld[photos]'", name=error.name) from error
        self.side = SIDES[model]
        self.network = source.base_model()

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x.flip(1) + 1) / 2)  # BGR in [0, 1]
