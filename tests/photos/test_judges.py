import importlib
import sys

import numpy as np
import pytest
import torch

from hfld.attributes import EMOTIONS
from hfld.images import to_tensor
from hfld.networks.emotion import EmotionNet, letterbox
from hfld.photos.judges import (
    EMOTION,
    IDENTITY,
    PhotoJudge,
    as_deepface,
    detect_faces,
    load_emotion,
    load_identity,
)
from hfld.portraits.parameters import sample
from hfld.portraits.render import render_latents


@pytest.fixture(scope="module")
def portraits():
    """Rendered at 128 px; OpenCV's detector finds a face in most, but not in all."""
    return render_latents(sample(12, 3), 128, workers=1, progress=False)[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A DEEPFACE_HOME with untrained emotion weights in DeepFace's file.

    Answers differ by about a point between pictures; wider ones would show float32's own noise, by which
    DeepFace's networks differ between one image and a batch.
    """
    folder = tmp_path_factory.mktemp("deepface")
    (folder / ".deepface" / "weights").mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = EmotionNet()
        for name, value in network.named_parameters():
            if value.ndim > 1:
                torch.nn.init.kaiming_normal_(value, nonlinearity="relu")
                value.data.mul_(0.1 if name.startswith("fc_3") else 1)
    torch.save(network.state_dict(), folder / EMOTION)
    return folder


@pytest.fixture(scope="module")
def deepface(home):
    pytest.importorskip("deepface", reason="the extra `photos` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFACE_HOME", str(home))
        patch.setenv("DEEPFACE_BACKEND_ENGINE", "pytorch")
        from deepface import DeepFace

        yield DeepFace


def analyzed(deepface, picture: np.ndarray, **arguments) -> np.ndarray:
    """Percent [7] that DeepFace.analyze gives for the largest face of an RGB picture."""
    found = deepface.analyze(picture[..., ::-1].copy(), actions=("emotion",), silent=True, **arguments)
    best = max(found, key=lambda face: face["region"]["w"] * face["region"]["h"])
    return np.array([best["emotion"][name] for name in EMOTIONS])


@pytest.mark.parametrize("size", [(128, 128), (256, 256), (142, 142), (120, 80), (61, 97), (300, 200)])
def test_emotions_equal_deepface_on_whole_pictures(deepface, home, size):
    pictures = np.random.default_rng(size[0]).integers(0, 256, (5, 6, 5, 3), dtype=np.uint8)
    pictures = np.kron(pictures, np.ones((1, 60, 60, 1), np.uint8))[:, : size[0], : size[1]]  # coloured tiles
    judged = as_deepface(load_emotion(home))(to_tensor(pictures)).numpy()
    expected = np.stack(
        [analyzed(deepface, p, detector_backend="skip", enforce_detection=False) for p in pictures]
    )
    assert judged.shape == (5, 7)
    assert np.abs(judged - expected).max() <= 1e-5
    assert expected.std(axis=0).max() > 0.3  # the weights tell the pictures apart
    np.testing.assert_allclose(judged.sum(1), 100, atol=1e-4)


def test_emotions_equal_deepface_on_detected_faces(deepface, home, portraits):
    from deepface.modules.exceptions import FaceNotDetected

    judged = as_deepface(load_emotion(home), detector="opencv")(to_tensor(portraits)).numpy()
    failed = 0
    for picture, reading in zip(portraits, judged, strict=True):
        try:
            expected = analyzed(deepface, picture, detector_backend="opencv")
        except FaceNotDetected:
            failed += 1
            assert np.isnan(reading).all()
            continue
        assert np.abs(reading - expected).max() <= 1e-5
    assert 0 < failed < len(portraits) - 5
    whole = as_deepface(load_emotion(home))(to_tensor(portraits)).numpy()
    assert np.nanmax(np.abs(whole - judged)) > 0.3  # the crop matters


def test_no_face_in_a_whole_batch(deepface, home):
    judged = as_deepface(load_emotion(home), detector="opencv")(torch.zeros(2, 3, 64, 64))
    assert judged.shape == (2, 7)
    assert judged.isnan().all()


def test_detected_faces_are_crops(deepface, portraits):
    faces = [face for face in detect_faces(to_tensor(portraits)) if face is not None]
    assert len(faces) > 5
    assert all(face.shape[:2] == (1, 3) and 40 < face.shape[-1] < 128 for face in faces)
    assert all(-1 <= face.min() < face.max() <= 1 for face in faces)


def test_emotions_do_not_need_deepface_and_ignore_autocast(home, monkeypatch):
    for name in ("deepface", "deepface.commons"):
        monkeypatch.setitem(sys.modules, name, None)
    judge, images = as_deepface(load_emotion(home)), torch.rand(3, 3, 64, 48) * 2 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = judge(images.bfloat16().float())
    assert torch.equal(coarse, judge(images.bfloat16().float()))
    assert not any(parameter.requires_grad for parameter in judge.parameters())
    with pytest.raises(ImportError, match=r"pip install 'hfld\[photos\]'"):
        as_deepface(load_emotion(home), detector="opencv")(images)


def test_identity_equals_deepface(deepface, home, portraits):
    model = "GhostFaceNet"  # the smaller one
    layout = importlib.import_module(f"deepface.models.facial_recognition.pytorch.{model}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = layout.base_model().state_dict()
    torch.save(state, home / IDENTITY[model])
    for detector, pictures in ((None, portraits[1:5, :, 10:]), ("opencv", portraits[3:8])):
        judge = as_deepface(load_identity(home, model=model), detector=detector)
        judged = judge(to_tensor(pictures)).numpy()
        expected = [
            deepface.represent(
                np.float32(picture[..., ::-1] / 255) if detector is None else picture[..., ::-1].copy(),
                model_name=model,
                detector_backend=detector or "skip",
                max_faces=1,
            )[0]["embedding"]
            for picture in pictures
        ]
        assert judged.shape == np.shape(expected)
        np.testing.assert_allclose(judged, expected, atol=1e-5 * np.abs(expected).max())


def test_missing_and_damaged_weights_are_named(home, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"arcface_weights.pth is missing; .*hfld.photos.fetch.* at https://github"
    ):
        load_identity(tmp_path)
    with pytest.raises(ValueError, match="'ArcFase'; the nearest is 'ArcFace'"):
        load_identity(home, model="ArcFase")
    (tmp_path / EMOTION).parent.mkdir(parents=True)
    whole = (home / EMOTION).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"Not Found"):
        (tmp_path / EMOTION).write_bytes(damaged)
        with pytest.raises(ValueError, match="is not DeepFace's network or is damaged"):
            load_emotion(tmp_path)


def test_letterbox_keeps_the_whole_picture_in_the_middle():
    x = torch.ones(1, 1, 20, 10)
    framed = letterbox(x, (40, 40))
    assert framed.shape == (1, 1, 40, 40)
    assert (framed[..., 10:30] == 1).all()
    assert (framed[..., :10] == -1).all() and (framed[..., 30:] == -1).all()
    assert torch.equal(letterbox(x, (20, 10)), x)
    with pytest.raises(ValueError, match="1000 x 2 px are too narrow for 224 x 224"):
        letterbox(torch.ones(1, 1, 1000, 2), (224, 224))


def test_a_failed_detection_is_nan_for_that_image_only(monkeypatch):
    monkeypatch.setattr(
        "hfld.photos.judges.detect_faces", lambda images, _: [images[:1, :, :6, :4], None, images[2:]]
    )
    judge = PhotoJudge(torch.nn.Flatten(), side=2, outputs=12, detector="opencv")
    readings = judge(torch.rand(3, 3, 8, 8))
    assert readings.isnan().any(dim=1).tolist() == [False, True, False]
