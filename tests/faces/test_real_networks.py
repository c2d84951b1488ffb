"""The real networks, where `make data` has put them, against values that other programs gave.

OpenVINO 2026.4.1 in float32 ran the files as they come out of the packages; face-api's are from its own
JavaScript. Inputs are written as formulas.
"""

import pytest
import torch

from hfld.checkpoints import load_network
from hfld.config import ROOT

FOLDER = ROOT / "data" / "faces"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (FOLDER / "generator.safetensors").is_file(), reason="no data/faces"),
]


def waves(*shape):
    """Numbers in [0, 1]."""
    return (0.5 + 0.5 * torch.sin(0.37 * torch.arange(torch.Size(shape).numel()))).reshape(1, *shape)


def pattern(side):
    """A picture in [-1, 1]."""
    i = torch.arange(side * side * 3)
    numbers = (7919 * i + 31 * (i * i % 1013)) % 256
    return (numbers / 127.5 - 1).reshape(1, side, side, 3).permute(0, 3, 1, 2)


def near(found, expected, tolerance):
    torch.testing.assert_close(
        found.flatten()[: len(expected)], torch.tensor(expected), rtol=tolerance, atol=tolerance
    )


def test_generator():
    generator = load_network(FOLDER / "generator.safetensors").to(memory_format=torch.channels_last)
    w = generator.mapping(1.2 * torch.sin(1.7 * torch.arange(512.0))[None])
    near(w, [-0.12456705, -0.00401569, -0.19089098, 0.16882438], 1e-5)
    picture = generator.synthesis(generator.repeat(w))
    red = [0.13781382, -0.27174059, -0.67653137, -0.78187281, 0.51264691, -0.85451478]
    near(picture[0, 0, ::341, ::341], red, 1e-3)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("mesh", [96.44214630, 119.10155487, -13.58614540, 97.74674988], [-8.36267948]),
        ("iris", [23.68671799, 38.15704727, 3.69728565, 25.78971481], [35.42243195, 32.25199127]),
        ("detector", [0.32755917, -0.52458727, 28.09306717], [-4.48413610, -3.77096963]),
        ("emotion", [3.16812839e-06, 3.45400721e-18, 8.82349679e-11], None),
        ("gender", [0.07484163, 0.92515838], None),
        ("age", [2.03286891e-06, 8.34481426e-08], None),
    ],
)
def test_readers(name, first, second):
    network = load_network(FOLDER / f"{name}.safetensors")
    for found, expected in zip(network(waves(*network.shape)), (first, second), strict=False):
        near(found, expected, 1e-4)


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        ("expression", 112, [[-3.15256858, -4.78605700, -3.08463311, -2.37292075, -5.76660585]]),
        ("68_points", 112, [[0.42692453, 0.39886856, 0.50469220, 0.46608236]]),
        ("age_gender", 112, [[65.2559967], [1.09547174, -0.9988699]]),
        ("identity", 150, [[-0.09326756, 0.09393035, 0.04363721, -0.01616274]]),
    ],
)
def test_readers_of_face_api(name, side, expected):
    path = FOLDER / f"face_api_{name}.safetensors"
    if not path.is_file():
        pytest.skip("optional")
    found = load_network(path)(pattern(side))
    for part, values in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        near(part, values, 1e-4)
