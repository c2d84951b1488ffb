"""DeepFace (0.0.103) as a judge of photographs: emotions and identity, with its face detection or without.

Needs the extra `photos`. The networks run here, in batches and on any device; DeepFace itself is asked only
for its face detector and for the layout of its identity networks.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hfld.attributes import EMOTIONS, index_of
from hfld.networks.emotion import EmotionNet, letterbox

DEEPFACE = "https://github.com/serengil/deepface_models/releases/download/v1.0/"

WEIGHTS = {
    "Emotion": "facial_expression_model_weights.pth",
    "ArcFace": "arcface_weights.pth",
    "DeepFace": "VGGFace2_DeepFace_weights_val-0.9034.pth",
    "DeepID": "deepid_weights.pth",
    "Facenet": "facenet_weights.pth",
    "Facenet512": "facenet512_weights.pth",
    "GhostFaceNet": "ghostfacenet_v1.pth",
    "OpenFace": "openface_weights.pth",
    "VGG-Face": "vgg_face_weights.pth",
}
"""DeepFace's file for each of its networks, under <home>/.deepface/weights."""


class PhotoJudge(nn.Module):
    """Images [N, 3, H, W] in [-1, 1] -> what `network` reads in the face, [N, outputs] float32.

    Without a detector the whole picture is the face. With one, the largest face that it finds is cropped and
    turned upright as DeepFace does; where it finds none, the reading is NaN.
    """

    def __init__(
        self,
        network: nn.Module,  # [N, 3, *size] in [-1, 1] -> [N, outputs]
        *,
        size: tuple[int, int],  # height, width
        outputs: int,
        detector: str | None = None,  # a detector_backend of DeepFace; "opencv" needs no further files
    ) -> None:
        super().__init__()
        self.network, self.size, self.outputs, self.detector = network, size, outputs, detector

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


class _UnitBGR(nn.Module):
    """RGB in [-1, 1] -> BGR in [0, 1], which DeepFace's identity networks take."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x.flip(1) + 1) / 2)


def load_emotion(
    home: Path | str,  # DEEPFACE_HOME: holds .deepface/weights
    *,
    detector: str | None = None,
    device: torch.device | str = "cpu",
) -> PhotoJudge:
    """Images [N, 3, H, W] in [-1, 1] -> percent [N, 7], equal to DeepFace.analyze on the same picture.

    analyze lists every face; this is the largest one. Without a detector, DeepFace need not be installed.
    """
    path = weights_file(home, "Emotion")
    network = EmotionNet()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(
            f"{path} is not DeepFace's emotion network or is damaged; delete it and fetch it again: {error}"
        ) from error
    return _frozen(PhotoJudge(network, size=(224, 224), outputs=len(EMOTIONS), detector=detector), device)


def load_identity(
    home: Path | str,  # DEEPFACE_HOME: holds .deepface/weights
    *,
    model: str = "ArcFace",  # a key of WEIGHTS
    detector: str | None = None,
    device: torch.device | str = "cpu",
) -> PhotoJudge:
    """Images [N, 3, H, W] in [-1, 1] -> embeddings [N, E] as DeepFace.represent (normalization "base").

    represent rounds to 8 bits when it resizes a whole 8-bit picture; this does not. VGG-Face's embeddings
    are not normalised to length 1.
    """
    index_of(model, [name for name in WEIGHTS if name != "Emotion"], "identity model")
    weights_file(home, model)
    _require_deepface()
    from deepface.modules import modeling

    with _home(home):
        client = modeling.get_model_class(task="facial_recognition", model_name=model)()
    width, height = client.input_shape
    judge = PhotoJudge(
        _UnitBGR(client.model), size=(height, width), outputs=client.output_shape, detector=detector
    )
    return _frozen(judge, device)


def as_deepface(network: nn.Module, *, detector: str | None = None) -> PhotoJudge:
    """A network of emotions or identity [N, 3, S, S] -> [N, outputs] as DeepFace would run it."""
    side = getattr(network, "side", 224)
    device = next(network.parameters()).device
    with torch.no_grad():
        outputs = network(torch.zeros(1, 3, side, side, device=device)).shape[1]
    return _frozen(PhotoJudge(network, size=(side, side), outputs=outputs, detector=detector), device)


def weights_file(home: Path | str, model: str) -> Path:
    """Where DeepFace keeps a network; FileNotFoundError says where it comes from if it is not there."""
    index_of(model, WEIGHTS, "DeepFace model")
    path = Path(home) / ".deepface" / "weights" / WEIGHTS[model]
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; `python -m hfld.photos.fetch` gets what profiles need, and it is at "
            f"{DEEPFACE}{WEIGHTS[model]}"
        )
    return path


def detect_faces(images: Tensor, detector: str = "opencv") -> list[Tensor | None]:
    """The largest face of each image [N, 3, H, W], cropped and upright, [1, 3, h, w]; None: none found."""
    _require_deepface()
    from deepface.modules import detection
    from deepface.modules.exceptions import FaceNotDetected, ImgNotFound

    pictures = images.detach().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    pictures = pictures.flip(1).permute(0, 2, 3, 1).cpu().numpy()  # BGR
    faces: list[Tensor | None] = []
    for picture in pictures:
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


def _frozen(judge: PhotoJudge, device: torch.device | str) -> PhotoJudge:
    return judge.to(device).eval().requires_grad_(False)


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


@contextmanager
def _home(folder: Path | str) -> Iterator[None]:
    """DeepFace looks for weights under the environment variable DEEPFACE_HOME."""
    before = os.environ.get("DEEPFACE_HOME")
    os.environ["DEEPFACE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["DEEPFACE_HOME"]
        else:
            os.environ["DEEPFACE_HOME"] = before
