"""Measures on faces of which everything is known: points on a plane and painted patches."""

import math

import pytest
import torch

from hfld.attributes import ATTRIBUTES
from hfld.faces.measures import HAIR, MEASURES, UNPROVEN, Faces, lab, measure
from hfld.faces.mesh import LEFT, SIDE, SQUARE, TOP, Mesh, MeshReader, cut_out

LAYOUT = {  # x, y from the middle between the outer eye corners, in units of their distance, y down
    33: (-0.5, 0), 133: (-0.17, 0), 159: (-0.33, -0.05), 145: (-0.33, 0.05),
    263: (0.5, 0), 362: (0.17, 0), 386: (0.33, -0.05), 374: (0.33, 0.05),
    70: (-0.6, -0.2), 63: (-0.5, -0.27), 105: (-0.35, -0.3), 66: (-0.25, -0.28), 107: (-0.12, -0.22),
    53: (-0.5, -0.22), 52: (-0.35, -0.25), 65: (-0.25, -0.23),
    300: (0.6, -0.2), 293: (0.5, -0.27), 334: (0.35, -0.3), 296: (0.25, -0.28), 336: (0.12, -0.22),
    283: (0.5, -0.22), 282: (0.35, -0.25), 295: (0.25, -0.23),
    10: (0, -0.9), 151: (0, -0.6), 9: (0, -0.4), 109: (-0.3, -0.85), 338: (0.3, -0.85),
    108: (-0.3, -0.6), 337: (0.3, -0.6), 234: (-0.85, 0.1), 454: (0.85, 0.1),
    172: (-0.6, 0.8), 397: (0.6, 0.8),
    129: (-0.2, 0.4), 358: (0.2, 0.4), 5: (0, 0.3), 195: (0, 0.2), 50: (-0.5, 0.35), 280: (0.5, 0.35),
    61: (-0.3, 0.75), 291: (0.3, 0.75), 0: (0, 0.65), 13: (0, 0.73), 14: (0, 0.75), 17: (0, 0.87),
    37: (-0.1, 0.65), 82: (-0.1, 0.73), 267: (0.1, 0.65), 312: (0.1, 0.73),
    87: (-0.1, 0.75), 84: (-0.1, 0.87), 317: (0.1, 0.75), 314: (0.1, 0.87),
    152: (0, 1.2), 200: (0, 1.05), 201: (-0.15, 1.05), 421: (0.15, 1.05),
    214: (-0.5, 0.85), 212: (-0.45, 0.8), 434: (0.5, 0.85), 432: (0.45, 0.8),
    165: (-0.15, 0.58), 92: (-0.15, 0.58), 167: (-0.15, 0.58),
    391: (0.15, 0.58), 322: (0.15, 0.58), 393: (0.15, 0.58),
    230: (-0.33, 0.15), 229: (-0.33, 0.15), 450: (0.33, 0.15), 449: (0.33, 0.15),
}  # fmt: skip
SKIN = (0.8, 0.6, 0.5)


def face(*, unit=0.3, centre=(0.5, 0.5), angle=0.0, moved=None):
    """A flat mesh."""
    points = torch.zeros(468, 2)
    for index, place in {**LAYOUT, **(moved or {})}.items():
        points[index] = torch.tensor(place)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = (points @ turn.T * unit + torch.tensor(centre))[None]
    return Mesh(points, torch.zeros(1, 468), torch.ones(1))


def painted(*patches, unit=0.3, side=256):
    """A picture of skin; patches are (x, y, half width, half height, rgb) in the layout's units."""
    image = torch.tensor(SKIN)[:, None, None].expand(3, side, side).clone()
    axis = (torch.arange(side) + 0.5) / side
    x, y = (axis - 0.5) / unit, ((axis - 0.5) / unit)[:, None]
    for px, py, half_width, half_height, colour in patches:
        inside = ((x - px).abs() <= half_width) & ((y - py).abs() <= half_height)
        image[:, inside] = torch.tensor(colour)[:, None]
    return (2 * image - 1)[None]


def values(image=None, **options):
    found = measure(painted() if image is None else image, face(**options), {**MEASURES, **UNPROVEN})
    return {name: value.item() for name, value in found.items()}


PLAIN = values()

HAIR_PATCH = (0, -1.17, 0.6, 0.2)


@pytest.mark.parametrize(
    ("name", "moved", "expected"),
    [
        ("Mouth_Slightly_Open", {14: (0, 0.83)}, 0.10),
        ("Smiling", {61: (-0.4, 0.70), 291: (0.4, 0.70)}, 0.8 + 2 * 0.04),
        ("Narrow_Eyes", {159: (-0.33, 0), 386: (0.33, 0)}, -0.1 / 0.66),
        ("Big_Lips", {0: (0, 0.60)}, 0.13 + 0.12),
        ("Big_Nose", {358: (0.3, 0.4)}, 0.5),
        ("Oval_Face", {152: (0, 1.65)}, 2.55 / 1.7),
        ("Chubby", {172: (-0.8, 0.8)}, 1.4 / 2.1),
        ("Arched_Eyebrows", {105: (-0.35, -0.4), 334: (0.35, -0.4)}, 0.19 / math.hypot(0.48, 0.02)),
    ],
)  # fmt: skip
def test_shapes_are_their_formulas(name, moved, expected):
    assert values(moved=moved)[name] == pytest.approx(expected, abs=1e-4)
    assert values(moved=moved)[name] > PLAIN[name]


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("Wearing_Lipstick", (0, 0.76, 0.35, 0.14, (0.8, 0.2, 0.25))),
        ("Bushy_Eyebrows", (0, -0.25, 0.65, 0.08, (0.2, 0.15, 0.1))),
        ("Bangs", (0, -0.75, 0.6, 0.2, (0.2, 0.15, 0.1))),
    ],
)
def test_paint_where_it_belongs_raises_its_measure_alone(name, patch):
    found = values(painted(patch))
    assert found[name] > PLAIN[name] + 5
    changed = {key for key in MEASURES if abs(found[key] - PLAIN[key]) > 1}
    assert changed <= {name, "Bald", "Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair"}, changed


def test_a_beard_and_rosy_cheeks_and_pale_skin():
    beard = values(painted((0, 1.0, 0.7, 0.25, (0.2, 0.15, 0.1))))
    assert beard["No_Beard"] < PLAIN["No_Beard"] - 20
    cheeks = painted(*((side * 0.5, 0.35, 0.15, 0.12, (0.9, 0.5, 0.5)) for side in (-1, 1)))
    assert values(cheeks)["Rosy_Cheeks"] > PLAIN["Rosy_Cheeks"] + 5
    assert values(painted() * 0 + 0.8)["Pale_Skin"] > PLAIN["Pale_Skin"] + 20


def rgb_of(colour):
    """sRGB that is nearest to an L*a*b* colour, by search."""
    levels = torch.linspace(0, 1, 41)
    grid = torch.cartesian_prod(levels, levels, levels)
    return tuple(grid[(lab(grid) - torch.tensor(colour, dtype=torch.float32)).norm(dim=1).argmin()].tolist())


@pytest.mark.parametrize("name", HAIR)
def test_hair_of_a_colour_is_of_that_colour(name):
    found = values(painted((*HAIR_PATCH, rgb_of(HAIR[name]))))
    assert found[name] > 3
    assert all(found[other] < 0 for other in HAIR if other != name)
    assert found["Bald"] < -10
    assert PLAIN["Bald"] == pytest.approx(0, abs=1e-3)
    assert all(PLAIN[other] < 0 for other in HAIR)  # skin is no hair


def test_place_size_and_roll_of_a_face_do_not_matter():
    for name, value in values(unit=0.2, centre=(0.45, 0.55), angle=0.3).items():
        assert value == pytest.approx(PLAIN[name], abs=2e-3), name


def test_a_face_that_is_turned_measures_the_same_lengths():
    flat = face()
    turned = flat.points.clone()
    turned[..., 0] = 0.5 + (flat.points[..., 0] - 0.5) * math.cos(0.6)
    depth = (flat.points[..., 0] - 0.5) * math.sin(0.6)
    found = measure(painted(), Mesh(turned, depth, torch.ones(1)))
    for name in (
        "Big_Lips",
        "Big_Nose",
        "Oval_Face",
        "Chubby",
        "Narrow_Eyes",
        "Mouth_Slightly_Open",
        "Smiling",
    ):
        assert found[name].item() == pytest.approx(PLAIN[name], abs=1e-4), name


def test_names_are_celeba_s_and_formulas_are_published():
    assert set(MEASURES) | set(UNPROVEN) <= set(ATTRIBUTES)
    assert not set(MEASURES) & set(UNPROVEN)
    assert all(formula.__doc__ for formula in (MEASURES | UNPROVEN).values())


def test_lab_of_known_colours():
    colours = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    torch.testing.assert_close(lab(colours), torch.tensor(expected), atol=0.05, rtol=0)


def test_measures_can_be_differentiated():
    image, mesh = painted().requires_grad_(True), face()
    points = mesh.points.requires_grad_(True)
    sum(value.sum() for value in measure(image, mesh).values()).backward()
    assert image.grad.isfinite().all()
    assert image.grad.abs().sum() > 0
    assert points.grad.isfinite().all()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"expected N pictures and \[N, 468, 2\]"):
        Faces(painted(), Mesh(torch.zeros(1, 106, 2), torch.zeros(1, 106), torch.ones(1)))


class Brightest(torch.nn.Module):
    """In place of the network: says where the brightest pixel of its picture is, 468 times."""

    def forward(self, x):
        assert x.shape[1:] == (SIDE, SIDE, 3)
        assert x.min() > -1e-5 and x.max() < 1 + 1e-5
        place = x.sum(dim=3).flatten(1).argmax(dim=1)
        point = torch.stack((place % SIDE + 0.5, place // SIDE + 0.5, 0 * place + 11.3), dim=1)
        return point.repeat(1, 468), torch.zeros(len(x), 1, 1, 1)


@pytest.mark.parametrize("side", [256, 512])
def test_mesh_is_in_shares_of_the_whole_picture(side):
    image = -torch.ones(1, 3, side, side)
    x, y = round(0.3 * side), round(0.7 * side)
    image[:, :, y - 2 : y + 2, x - 2 : x + 2] = 1
    mesh = MeshReader(Brightest())(image)
    assert isinstance(mesh, Mesh)
    torch.testing.assert_close(
        mesh.points[0, 17], torch.tensor([x / side, y / side]), atol=1 / SQUARE, rtol=0
    )
    assert mesh.depth[0, 0].item() == pytest.approx(11.3 / SQUARE)
    assert mesh.confidence.item() == 0.5
    assert (LEFT, TOP) == (17, 29)


@pytest.mark.parametrize("unit", [0.05, 0.3])
def test_faces_are_cut_out_whole(unit):
    points = face(unit=unit, centre=(0.4, 0.6)).points
    low, high = points[0].amin(dim=0), points[0].amax(dim=0)
    image = torch.zeros(1, 3, 256, 256)
    middle = ((low + high) / 2 * 256).round().long()
    image[:, :, middle[1] - 2 : middle[1] + 2, middle[0] - 2 : middle[0] + 2] = 1
    chip = cut_out(image, points, side=64, margin=0.25)
    assert chip.shape == (1, 3, 64, 64)
    axis, weight = torch.arange(64) - 31.5, chip[0, 0] / chip[0, 0].sum()
    assert abs((weight.sum(dim=0) * axis).sum()) < 2 and abs((weight.sum(dim=1) * axis).sum()) < 2
    assert chip.sum() / image.sum() == pytest.approx(
        (64 / (256 * (high - low).max().item() * 1.25)) ** 2, rel=0.3
    )
