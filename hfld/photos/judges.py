"""DeepFace (0.0.103) as a judge of photographs: emotions and identity, with its face detection or without.

Needs the extra `photos`. The networks run here, in batches and on any device; DeepFace itself is asked only
for its face detector and for the layout of its identity networks.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hfld.attributes import index_of
from hfld.images import to_uint8
from hfld.networks.deepface import DeepFaceIdentity
from hfld.networks.emotion import EmotionNet, letterbox

DEEPFACE = "https://github.com/serengil/deepface_models/releases/download/v1.0/"

EMOTION = ".deepface/weights/facial_expression_model_weights.pth"
IDENTITY = {
    "ArcFace": ".deepface/weights/arcface_weights.pth",
    "GhostFaceNet": ".deepface/weights/ghostfacenet_v1.pth",
}
"""DeepFace's files below its home; the keys are what DeepFace calls its networks."""


class PhotoJudge(nn.Module):
    """Images [N, 3, H, W] in [-1, 1] -> what `network` reads in the face, [N, outputs] float32.

    Without a detector the whole picture is the face. With one, the largest face that it finds is cropped and
    turned upright as DeepFace does; where it finds none, the reading is NaN.
    """

    def __init__(
        self,
        network: nn.Module,  # [N, 3, side, side] in [-1, 1] -> [N, outputs]
        *,
        side: int,  # px
        outputs: int,
        detector: str | None = None,  # a detector_backend of DeepFace; "opencv" needs no further files
    ) -> None:
        super().__init__()
        self.network, self.size, self.outputs, self.detector = network, (side, side), outputs, detector

    def forward(self, images: Tensor) -> Tensor:
        images = images.float()
        with torch.autocast(images.device.type, enabled=False):  # DeepFace computes in float32
            if self.detector is None:
                return self.network(letterbox(images, self.size))
            readings = images.new_full((len(images), self.outputs), torch.nan)
            faces = detect_faces(images, self.detector)
            found = [i for i, face in enumerate(faces) if face is not None]
            if found:
                readings[found] = self.network(torch.cat([letterbox(faces[i], self.size) for i in found]))
            return readings


def as_deepface(network: nn.Module, *, detector: str | None = None) -> PhotoJudge:
    """A network of emotions or identity [N, 3, S, S] -> [N, outputs] as DeepFace would run it."""
    side = getattr(network, "side", 224)
    device = next(network.parameters()).device
    with torch.no_grad():
        outputs = network(torch.zeros(1, 3, side, side, device=device)).shape[1]
    judge = PhotoJudge(network, side=side, outputs=outputs, detector=detector)
    return judge.to(device).eval().requires_grad_(False)


def load_emotion(
    home: Path | str,  # DEEPFACE_HOME: holds .deepface/weights
) -> EmotionNet:
    """DeepFace's network of emotions. `as_deepface` of it equals DeepFace.analyze on the same picture, which
    lists every face where this reads the largest. Without a detector, DeepFace need not be installed.
    """
    return _load_weights(EmotionNet(), _existing(Path(home) / EMOTION))


def load_identity(
    home: Path | str,  # DEEPFACE_HOME: holds .deepface/weights
    *,
    model: str = "ArcFace",  # a key of IDENTITY
) -> DeepFaceIdentity:
    """A network of identity. `as_deepface` of it equals DeepFace.represent (normalization "base"), which
    rounds to 8 bits when it resizes a whole 8-bit picture; this does not.
    """
    index_of(model, IDENTITY, "identity model")
    path = _existing(Path(home) / IDENTITY[model])
    identity = DeepFaceIdentity(model=model)
    _load_weights(identity.network, path)
    return identity.eval()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; `python -m hfld.photos.fetch` gets what profiles need, and it is at "
            f"{DEEPFACE}{path.name}"
        )
    return path


def _load_weights(network: nn.Module, path: Path) -> nn.Module:
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(
            f"{path} is not DeepFace's network or is damaged; delete it and fetch it again: {error}"
        ) from error
    return network.eval()


def detect_faces(images: Tensor, detector: str = "opencv") -> list[Tensor | None]:
    """The largest face of each image [N, 3, H, W], cropped and upright, [1, 3, h, w]; None: none found."""
    _require_deepface()
    from deepface.modules import detection
    from deepface.modules.exceptions import FaceNotDetected, ImgNotFound

    faces: list[Tensor | None] = []
    for picture in to_uint8(images)[..., ::-1]:  # BGR
        try:
            (face,) = detection.extract_faces(
                np.ascontiguousarray(picture), detector_backend=detector, max_faces=1, color_face="rgb"
            )
        except (FaceNotDetected, ImgNotFound):  # none found, or its crop is empty
            faces.append(None)
            continue
        crop = torch.from_numpy(face["face"].copy()).to(images)  # [h, w, 3] in [0, 1]
        faces.append(2 * crop.permute(2, 0, 1)[None] - 1)
    return faces


def _require_deepface() -> None:
    """DeepFace on its torch backend; it decides once per process, when it is first used."""
    os.environ.setdefault("DEEPFACE_BACKEND_ENGINE", "pytorch")
    try:
        from deepface.commons import backend_utils
    except ImportError as error:
        raise ImportError(f"{error}; pip install 'hfld[photos]'", name=error.name) from error
    engine = backend_utils.get_backend_engine()
    if engine != "pytorch":
        raise ValueError(f"DeepFace runs on {engine}, expected pytorch; set DEEPFACE_BACKEND_ENGINE=pytorch")
