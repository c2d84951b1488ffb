"""Painting clothes and what people wear on the face, the ears and the neck."""

from types import SimpleNamespace

import numpy as np

from hfld.portraits.canvas import Canvas, curve, ellipse, ribbon
from hfld.portraits.head import Head
from hfld.portraits.palette import mix

_WHITE = np.array([255, 255, 255], dtype=np.float32)


def paint_background(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """A plain wall, a little darker below."""
    ramp = np.linspace(1.1, 0.8, canvas.side, dtype=np.float32)[:, None, None]
    canvas.image[:] = colours.back * ramp


def paint_clothes(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Shoulders; with a necktie, a white collar and the tie."""
    x, wide, tie = head.neck.x, head.neck.wide, head.sheet["Wearing_Necktie"]
    left = np.array([[-6, 134], [-6, 125], [14, 119.5], [x - wide - 6, 115.5], [x - wide - 1.5, 111.5]])
    right = left[::-1] * np.array([-1, 1]) + np.array([128, 0])
    right[0, 0], right[1, 0] = x + wide + 1.5, x + wide + 6
    scoop = np.array([[x - 9, 118.5], [x, 120.5], [x + 9, 118.5]])
    outline = np.concatenate([curve(np.concatenate([left, scoop, right])), [[134, 140], [-6, 140]]])
    canvas.fill(outline, colours.cloth)
    canvas.stroke(curve(np.concatenate([left[-1:], scoop, right[:1]])), colours.cloth * 0.62, 1.6, 0.8)
    if tie < 0.005:
        return
    for side in (-1, 1):
        collar = np.array(
            [
                [x + side * (wide + 2.5), 109.5],
                [x + side * 1.5, 119.5],
                [x + side * 8.5, 127.5],
                [x + side * (wide + 7), 117.5],
            ]
        )
        canvas.fill(collar, (244, 244, 248), tie)
        canvas.stroke(collar[[0, 3, 2, 1]], (150, 152, 162), 0.9, 0.8 * tie, taper=False)
    knot = np.array([[x - 4.2, 117.5], [x + 4.2, 117.5], [x + 2.8, 122.5], [x - 2.8, 122.5]])
    blade = np.array([[x - 2.6, 122.5], [x + 2.6, 122.5], [x + 5.6, 130], [x - 5.6, 130]])
    canvas.fill([knot, blade], mix(colours.hat, (40, 20, 60), 0.35), tie)
    canvas.stroke(knot[[3, 2]], (20, 14, 26), 0.8, 0.7 * tie, taper=False)


def paint_necklace(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """A string of beads with a pendant."""
    alpha = head.sheet["Wearing_Necklace"]
    if alpha < 0.005:
        return
    x, wide = head.neck.x, head.neck.wide
    arc = curve(
        np.array(
            [
                [x - wide - 0.5, 108.5],
                [x - wide * 0.72, 114.5],
                [x, 119.5],
                [x + wide * 0.72, 114.5],
                [x + wide + 0.5, 108.5],
            ]
        ),
        steps=5,
    )
    canvas.stroke(arc + np.array([0, 0.9]), (40, 26, 20), 2.2, 0.45 * alpha, taper=False)
    canvas.fill([ellipse(p, (1.55, 1.55), 10) for p in arc], colours.metal, alpha)
    canvas.fill([ellipse(p + np.array([-0.4, -0.5]), (0.6, 0.6), 8) for p in arc], _WHITE, 0.75 * alpha)
    canvas.ellipse(arc[10] + np.array([0, 3.6]), (2.6, 3.0), colours.metal, alpha)
    canvas.ellipse(arc[10] + np.array([0, 3.6]), (1.5, 1.8), (190, 34, 60), alpha)


def paint_earrings(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Hoops below the lobes."""
    alpha = head.sheet["Wearing_Earrings"]
    if alpha < 0.005:
        return
    for side, lobe, away in head.lobes:
        shown = alpha * (1 - min(1.0, 1.3 * away))
        centre = lobe + np.array([side * 0.8, 4.4])
        ring = ellipse(centre, (3.3, 4.2), 24)
        ring = np.concatenate([ring, ring[:1]])
        canvas.stroke(ring, colours.metal * 0.42, 2.7, 0.9 * shown, taper=False)
        canvas.stroke(ring, colours.metal, 1.8, shown, taper=False)
        canvas.ellipse(lobe, (1.7, 1.7), colours.metal, shown)
        canvas.ellipse(lobe + np.array([-0.4, -0.4]), (0.7, 0.7), _WHITE, 0.9 * shown)


def paint_glasses(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Full-rim glasses."""
    alpha = head.sheet["Eyeglasses"]
    if alpha < 0.005:
        return
    inner = []
    for side in (-1, 1):
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        square = np.stack(
            [
                np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.62 * 9.8,
                np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.62 * 7.4,
            ],
            axis=1,
        )
        rim = head.project(square + np.array([side * head.eye_x, 0.9]), 4.0)
        canvas.fill(rim, (196, 220, 236), 0.16 * alpha)
        glint = rim[[16, 18, 20]] * 0.75 + rim.mean(axis=0) * 0.25
        canvas.stroke(glint, _WHITE, 1.2, 0.55 * alpha)
        canvas.fill(ribbon(np.concatenate([rim, rim[:2]]), 2.1, taper=False), colours.frame, alpha)
        inner.append(rim[14 if side > 0 else 0])
        hinge = rim[0 if side > 0 else 14]
        ear = head.project3(np.array([side * 33.0 * head.width]), np.array([0.0]), np.array([-6.0]))[0]
        if side * head.sin < 0.25:
            canvas.stroke(np.stack([hinge, ear]), colours.frame, 1.7, 0.95 * alpha, taper=False)
    bridge = np.stack([inner[0], (inner[0] + inner[1]) / 2 + np.array([0, -1.6]), inner[1]])
    canvas.stroke(curve(bridge), colours.frame, 1.9, alpha, taper=False)
