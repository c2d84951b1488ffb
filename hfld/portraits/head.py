"""The geometry of one head: features on an ellipsoid, moved by action units, turned by the pose, projected.

Head coordinates are design units (the picture is 128 wide): x to the right, y down, z towards the viewer,
origin between the eyes. The picture is aligned by the *neutral* geometry, so an expression does not move it.
"""

from types import SimpleNamespace

import numpy as np

from hfld.portraits.canvas import DESIGN, curve
from hfld.portraits.parameters import Parameters

_EYES_Y = 54.0
"""Height in the picture of the point between the eyes."""

# Right half of the neutral contour, from the temple to the chin: x, y.
_JAW = np.array(
    [[31.5, -4.0], [31.8, 6.0], [30.4, 16.0], [27.0, 26.5], [21.3, 36.8], [12.6, 44.4], [0.0, 47.3]]
)
# How much each of those points follows: jaw width, cheek fat, oval taper, jaw drop.
_JAW_WIDTH = np.array([0.0, 0.1, 0.35, 1.0, 1.0, 0.7, 0.0])
_JAW_FAT = np.array([0.1, 0.35, 0.85, 1.0, 0.9, 0.6, 0.0])
_JAW_TAPER = np.array([-0.1, 0.0, 0.35, 0.9, 1.0, 0.8, 0.0])
_JAW_DROP = np.array([0.0, 0.0, 0.1, 0.3, 0.65, 0.95, 1.0])


def smoothstep(value: float, low: float = 0.0, high: float = 1.0) -> float:
    """0 below `low`, 1 above `high`, smooth between."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


class Sheet:
    """One portrait's parameters as plain numbers: `sheet["Male"]`, `sheet.au(12)`, `sheet.value("yaw")`."""

    def __init__(self, parameters: Parameters, index: int) -> None:
        from hfld.attributes import ATTRIBUTES
        from hfld.portraits.parameters import ACTION_UNITS, NUISANCES

        self._amounts = {
            name: smoothstep(float(s), 0.08, 0.92)
            for name, s in zip(ATTRIBUTES, parameters.strengths[index], strict=True)
        }
        self._units = dict(zip(ACTION_UNITS, map(float, parameters.units[index]), strict=True))
        self.full_beard = smoothstep(float(parameters.full_beard[index]), 0.08, 0.92)
        self._values = dict(zip(NUISANCES, map(float, parameters.nuisance[index]), strict=True))

    def __getitem__(self, attribute: str) -> float:
        return self._amounts[attribute]

    def au(self, number: int) -> float:
        """Intensity in [0, 1] of FACS action unit `number`."""
        return self._units[number]

    def value(self, name: str) -> float:
        """Nuisance `name`, standard normal, clipped."""
        return self._values[name]


class Head:
    """Projected curves of one portrait. Every curve is [n, 2] in design units of the picture."""

    def __init__(self, sheet: Sheet, pose: np.ndarray) -> None:
        self.sheet = sheet
        yaw, pitch = np.deg2rad(pose)
        self.cos, self.sin = np.cos(yaw), np.sin(yaw)
        self.cos_pitch, self.sin_pitch = np.cos(pitch), np.sin(pitch)
        self.shift = np.zeros(2)
        eye_x, _, _, _, mouth_y, _ = self._anchors()
        neutral = self.project(np.array([[-eye_x, 0.0], [eye_x, 0.0], [0.0, mouth_y], [0.0, mouth_y]]))
        target = np.array([DESIGN / 2, _EYES_Y + 14.5])
        self.shift = target - neutral.mean(axis=0)
        self._build()

    def _anchors(self) -> tuple[float, float, float, float, float, float]:
        s, v = self.sheet, self.sheet.value
        eye_x = 14.3 + 0.7 * v("eye_spacing")
        brow_y = -9.6 - 0.8 * v("brow_height") + 0.9 * s["Male"]
        nose_y = 18.4 + 1.1 * v("nose_length") + 2.2 * s["Big_Nose"] + 1.6 * s["Pointy_Nose"]
        mouth_y = 29.2 + 0.5 * v("nose_length") + 0.4 * v("chin_length") + 0.8 * s["Big_Nose"]
        chin = 1 + 0.03 * v("chin_length") + 0.02 * s["Male"] + 0.045 * s["Oval_Face"]
        width = 1 + 0.03 * v("face_width")
        return eye_x, brow_y, nose_y, chin, mouth_y, width

    def project(self, points: np.ndarray, depth: float | np.ndarray = 0.0) -> np.ndarray:
        """Points [n, 2] on the face's surface, `depth` units in front of it -> picture [n, 2]."""
        x, y = points[:, 0], points[:, 1]
        z = 30 * np.sqrt(np.clip(1 - (x / 37) ** 2 - ((y - 2) / 62) ** 2, 0.02, 1)) + depth
        return self.project3(x, y, z)

    def project3(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Head coordinates -> picture [n, 2] (orthographic)."""
        turned = x * self.cos + z * self.sin
        front = z * self.cos - x * self.sin
        return np.stack([turned, y * self.cos_pitch - front * self.sin_pitch], axis=1) + self.shift

    def _build(self) -> None:
        eye_x, brow_y, nose_y, chin, mouth_y, width = self._anchors()
        self.width = width
        self._build_contour(chin, width)
        self.nose = self._nose(nose_y)
        self.eyes = [self._eye(side, eye_x) for side in (-1, 1)]
        self.brows = [self._brow(side, eye_x, brow_y) for side in (-1, 1)]
        self.mouth = self._mouth(mouth_y)
        self.mouth_y, self.nose_y, self.brow_y, self.eye_x = mouth_y, nose_y, brow_y, eye_x
        # The skull: an ellipsoid behind the face.
        v = self.sheet.value
        self.skull_radii = np.array([
            np.hypot(32.6 * width * self.cos, 37.0 * self.sin), 35.5 + 0.8 * v("face_height")
        ])  # fmt: skip
        self.skull = self.project3(np.zeros(1), np.array([-11.0]), np.array([-4.0]))[0]

    def _build_contour(self, chin: float, width: float) -> None:
        s, v = self.sheet, self.sheet.value
        jaw = _JAW.copy()
        wide = 1.1 * v("jaw_width") + 2.0 * s["Male"] - 0.6
        jaw[:, 0] += _JAW_WIDTH * wide + _JAW_FAT * 5.6 * s["Chubby"] - _JAW_TAPER * 5.2 * s["Oval_Face"]
        jaw[:, 0] *= width
        jaw[:, 1] = np.where(jaw[:, 1] > 0, jaw[:, 1] * chin, jaw[:, 1])
        jaw[:, 1] += _JAW_DROP * (6.0 * s.au(26) - 0.7 * s.au(17))
        right = curve(jaw, steps=8)[np.linspace(0, 48, 17).round().astype(int)]
        x = np.concatenate([-right[:, 0], right[-2::-1, 0]])
        y = np.concatenate([right[:, 1], right[-2::-1, 1]])
        front = 29.0 * np.sqrt(np.clip(1 - ((y - 2) / 66) ** 2, 0.1, 1))
        z = front * np.sqrt(np.clip(1 - (np.abs(x) / (np.abs(x).max() + 0.3)) ** 2, 0, 1))
        # The side turned away ends at its silhouette, the near side at the jaw line.
        far = np.sign(self.sin) * x > 0
        plain = x * self.cos + z * self.sin
        side = np.sign(self.sin)
        outline = side * np.maximum(
            side * plain, np.hypot(x * self.cos, 0.9 * front * self.sin * (np.abs(x) > 1))
        )
        turned = np.where(far, outline, plain)
        depth = z * self.cos - x * self.sin
        self.contour = (
            np.stack([turned, y * self.cos_pitch - depth * self.sin_pitch * 0.8], axis=1) + self.shift
        )

    def _eye(self, side: int, eye_x: float) -> SimpleNamespace:
        s, v = self.sheet, self.sheet.value
        half = 6.5 * (1 + 0.05 * v("eye_size") + 0.05 * s["Heavy_Makeup"] - 0.03 * s["Male"])
        opening = (
            (1 + 0.07 * v("eye_size")) * (1 + 0.42 * s.au(5)) * (1 - 0.58 * s.au(7)) * (1 - 0.14 * s.au(12))
        )
        upper = 3.7 * opening
        lower = 2.2 * (1 - 0.35 * s.au(7)) * (1 - 0.4 * s.au(6)) * (1 + 0.1 * s.au(5))
        lift = -0.5 - 0.5 * v("eye_tilt")
        t = np.array([-1, -0.5, 0.05, 0.6, 1.0, 0.55, 0.0, -0.55])  # outer, above, inner, below
        height = np.array(
            [lift, -0.80 * upper, -upper, -0.72 * upper, 0.6, 0.72 * lower, lower, 0.85 * lower]
        )
        points = np.stack(
            [side * (eye_x - t * half), height + np.array([0, 0.5, 0.2, 0.1, 0, 0, 0, 0.2]) * lift], axis=1
        )
        outline = self.project(points)
        gaze = np.array([2.0 * v("gaze_x"), 1.0 * v("gaze_y")])
        pupil = self.project(np.array([[side * eye_x, -0.35 * upper + 0.35 * lower]]) + gaze * 0.75)[0]
        lid = self.project(points[:5] + np.array([0, -1.9 - 0.35 * upper]))
        return SimpleNamespace(
            side=side, outline=outline, pupil=pupil, half=half, upper=upper, lower=lower, crease=lid
        )

    def _brow(self, side: int, eye_x: float, brow_y: float) -> np.ndarray:
        """Upper and lower edges [9, 2]: five points above from the outer end inwards, four below likewise."""
        s, v = self.sheet, self.sheet.value
        t = np.array([0.0, 0.28, 0.55, 0.8, 1.0])  # outer -> inner
        x = eye_x + 8.6 - t * 16.2
        arch = s["Arched_Eyebrows"]
        y = brow_y + np.array([1.9, -1.0, -1.5, -0.9, 0.2]) + arch * np.array([1.6, -3.1, -2.9, -0.6, 1.1])
        y += v("brow_tilt") * np.array([-0.7, -0.4, 0.0, 0.3, 0.6])
        y -= s.au(1) * np.array([0.0, 0.4, 1.4, 3.2, 4.3]) + s.au(2) * np.array([2.6, 3.7, 3.4, 1.7, 0.6])
        y += s.au(4) * np.array([0.2, 0.9, 2.0, 3.0, 3.6]) * (1 - 0.55 * s.au(1))
        y += 1.0 * s.au(9) * t
        x -= s.au(4) * np.array([0.0, 0.3, 0.8, 1.4, 1.9])
        thick = 1.9 + 0.25 * v("brow_thickness") + 0.5 * s["Male"] + 2.3 * s["Bushy_Eyebrows"] - 0.7 * arch
        thickness = max(thick, 1.0) * np.array([0.3, 0.8, 1.05, 1.15, 1.05])
        above = np.stack([side * x, y - thickness / 2], axis=1)
        below = np.stack([side * x, y + thickness / 2], axis=1)
        below = np.stack([(below[i] + below[i + 1]) / 2 for i in range(4)])
        return self.project(np.concatenate([above, below]))

    def _nose(self, nose_y: float) -> SimpleNamespace:
        s, v = self.sheet, self.sheet.value
        big, pointy = s["Big_Nose"], s["Pointy_Nose"]
        wing = (5.6 + 0.45 * v("nose_width") + 0.5 * s["Male"]) * (
            1 + 0.60 * big - 0.28 * pointy
        ) + 0.5 * s.au(9)
        wing += 0.5 * s.au(12)
        lift = 1.3 * s.au(9)
        protrude = 11.0 + 2.0 * big + 4.5 * pointy
        ys = np.array([0.2, 0.34, 0.62, 0.9]) * nose_y - 2.0
        bridge = self.project(np.stack([np.zeros(4), ys], axis=1), np.array([1.0, 3.0, 7.0, protrude]))
        ring = np.array([
            [-2.7, 0.12], [-3.4, 0.62], [-1.0 * wing, 0.86], [-0.66 * wing, 0.99], [-0.34 * wing, 1.0],
            [0.0, 1.045],
            [0.34 * wing, 1.0], [0.66 * wing, 0.99], [1.0 * wing, 0.86], [3.4, 0.62], [2.7, 0.12],
        ])  # fmt: skip
        ring[:, 1] = ring[:, 1] * nose_y - np.array([0, 0, 1, 1, 0.7, 0, 0.7, 1, 1, 0, 0]) * lift
        ring[5, 1] += 1.6 * pointy
        depth = np.array([0, 1.5, 2.0, 4.0, 6.0, 0.75 * protrude, 6.0, 4.0, 2.0, 1.5, 0])
        tip = self.project(np.array([[0.0, nose_y - 2.6 + 0.8 * pointy]]), protrude)[0]
        return SimpleNamespace(bridge=bridge, ring=self.project(ring, depth), tip=tip, wing=wing)

    def _mouth(self, mouth_y: float) -> SimpleNamespace:
        s, v = self.sheet, self.sheet.value
        smile, sad, stretch = s.au(12), s.au(15), s.au(20)
        half = (
            10.2 + 0.5 * v("mouth_width") + 1.0 * s["Big_Lips"] + 3.6 * smile + 2.2 * stretch - 0.9 * s.au(23)
        )
        half -= 1.6 * s.au(26) * (1 - smile)
        corner = -3.9 * smile + 3.3 * sad + 0.5 * stretch
        full = (
            (1 + 0.10 * v("lip_fullness"))
            * (1 + 0.95 * s["Big_Lips"])
            * (1 - 0.4 * s.au(23))
            * (1 - 0.12 * smile)
        )
        up, low = 2.5 * full, 3.1 * full * (1 - 0.1 * s.au(17))
        gap = 2.6 * s.au(25) + 6.2 * s.au(26)
        middle = 0.9 * smile - 0.7 * sad - 0.9 * s.au(17) - 0.6 * s.au(9)
        top, bottom = mouth_y + middle - 0.22 * gap, mouth_y + middle + 0.78 * gap
        t = np.array([-1, -0.62, -0.25, 0.0, 0.25, 0.62, 1.0])
        bend = corner * np.abs(t) ** 1.7
        bow = np.array([0, 0.62, 1.0, 0.78, 1.0, 0.62, 0])
        x = t * half
        inner_x = np.array([-0.86, -0.45, 0.0, 0.45, 0.86])
        inner_bend = corner * np.abs(inner_x) ** 1.7
        upper = np.stack([x, top + bend - up * bow], axis=1)
        under = np.array([0.62, 0.25, 0.0, -0.25, -0.62])
        taper = np.array([0.66, 0.96, 1.0, 0.96, 0.66])
        lower = np.stack([
            under * half, bottom + corner * np.abs(under) ** 1.7 + low * taper - (1 - taper) * 0.9 * gap
        ], axis=1)  # fmt: skip
        share = np.array([0.12, 0.8, 1.0, 0.8, 0.12])
        seam = mouth_y + middle
        inner_top = np.stack([inner_x * half, seam + inner_bend - 0.22 * gap * share - 0.12], axis=1)
        inner_low = np.stack([inner_x * half, seam + inner_bend + 0.78 * gap * share + 0.12], axis=1)
        upper[[0, -1], 1] = seam + corner
        outer = self.project(np.concatenate([upper, lower]), 3.0)
        inner = self.project(np.concatenate([inner_top, inner_low[-2:0:-1]]), 3.0)
        return SimpleNamespace(outer=outer, inner=inner, gap=gap, half=half, corner=corner)

    def landmarks(self) -> np.ndarray:
        """[106, 2] in design units, in the order of LaPa / JD-landmark."""
        left, right = self.brows
        points = [self.contour]
        points += [left[:5], left[5:], right[4::-1], right[:4:-1]]
        points += [self.nose.bridge, self.nose.ring]
        for eye in self.eyes:
            outline = eye.outline
            if eye.side > 0:  # from the inner corner: inner, above, outer, below
                outline = outline[[4, 3, 2, 1, 0, 7, 6, 5]]
            points += [outline, outline.mean(axis=0, keepdims=True)]
        points += [self.mouth.outer, self.mouth.inner]
        points += [self.eyes[0].pupil[None], self.eyes[1].pupil[None]]
        return np.concatenate(points)
