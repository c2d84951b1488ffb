"""Painting the skin and what lies on it: shading, cheeks, age, eyes, brows, nose, mouth."""

from types import SimpleNamespace

import numpy as np

from hfld.portraits.canvas import Canvas, curve, ellipse
from hfld.portraits.head import Head
from hfld.portraits.palette import mix

_DARK = np.array([26, 16, 16], dtype=np.float32)
_WHITE = np.array([255, 255, 255], dtype=np.float32)


def face_outline(head: Head) -> list[np.ndarray]:
    """The skull and the face in front of it: together the silhouette of the bald head."""
    return [ellipse(head.skull, tuple(head.skull_radii), 48), curve(head.contour, closed=True, steps=2)]


def paint_neck(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Neck and the shadow under the chin."""
    s = head.sheet
    wide = 15.5 + 2.6 * s["Male"] + 3.4 * s["Chubby"]
    x = 0.55 * head.skull[0] + 0.45 * head.contour[16, 0]
    top = head.contour[16, 1] - 16
    neck = np.array([
        [x - wide, top], [x - wide + 0.8, top + 22], [x - wide - 3, top + 32], [x - wide - 12, 130],
        [x + wide + 12, 130], [x + wide + 3, top + 32], [x + wide - 0.8, top + 22], [x + wide, top],
    ])  # fmt: skip
    shape = curve(neck, closed=True)
    canvas.fill(shape, colours.skin * 0.86)
    clip = canvas.mask(shape)
    canvas.fill(head.contour + np.array([0, 4.0]), colours.skin * 0.55, 0.75, clip, blur=2.6)
    head.neck = SimpleNamespace(x=x, wide=wide, mask=clip)
    fold = head.contour[9:24] * np.array([0.92, 1.0]) + np.array([0.08 * head.contour[16, 0], 0.0])
    canvas.fill(
        np.concatenate([fold, head.contour[9:24][::-1] + np.array([0, 6.4])]) + np.array([0, 1.0]),
        colours.skin * 0.93, 0.95 * s["Double_Chin"], clip,
    )  # fmt: skip
    canvas.stroke(
        head.contour[9:24] + np.array([0, 6.9]), colours.skin * 0.5, 1.8, 0.9 * s["Double_Chin"], blur=0.3
    )


def paint_ears(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Ears, the far one hidden by the turned head; remembers the lobes."""
    head.lobes = []
    for side in (-1, 1):
        anchor = head.project3(np.array([side * 32.5 * head.width]), np.array([6.0]), np.array([-5.0]))[0]
        away = max(0.0, side * head.sin)
        outline = anchor + np.array([
            [-side * 2, -8.5], [side * 3.2, -9.5], [side * 5.4, -5.0], [side * 4.2, 2.0],
            [side * 2.2, 7.6], [-side * 1.5, 8.2],
        ]) * np.array([1 - 0.85 * away, 1.0])  # fmt: skip
        canvas.fill(curve(outline, closed=True), colours.skin * 0.9)
        canvas.stroke(curve(outline[1:5] * 0.6 + anchor * 0.4), colours.skin * 0.62, 1.2, 0.75)
        head.lobes.append((side, anchor + np.array([side * 1.9 * (1 - 0.8 * away), 8.4]), away))


def paint_skin(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Head shape, light, cheeks, marks of age; sets `head.face`, the coverage that clips what follows."""
    s, v = head.sheet, head.sheet.value
    outline = face_outline(head)
    canvas.fill(outline, colours.skin)
    head.face = face = canvas.mask(*outline)

    # Light: a linear ramp across the head and a darker rim.
    axis = (np.arange(canvas.side, dtype=np.float32) + 0.5) / canvas.scale
    strength = 0.10 + 0.035 * np.clip(v("light_strength"), -2, 2)
    ramp = (axis - head.skull[0]) / 34 * np.tanh(v("light_x"))
    gain = 1 + strength * ramp[None, :, None] - 0.05 * ((axis - 62) / 50)[:, None, None]
    canvas.multiply(gain, face)
    canvas.fill([np.concatenate([head.contour, head.contour[::-1] * 0.86 + head.contour.mean(0) * 0.14])],
                colours.skin * 0.68, 0.5, face, blur=2.4)  # fmt: skip
    canvas.glow(
        head.project(np.array([[0.0, -24.0]]))[0], (17, 10), mix(colours.skin, _WHITE, 0.35), 0.42, face
    )

    cheeks = [head.project(np.array([[side * 19.0, 15.0 - 1.8 * s.au(6)]]))[0] for side in (-1, 1)]
    for side, cheek in zip((-1, 1), cheeks, strict=True):
        wide = 8.0 * (head.cos if side * head.sin > 0 else 1.0)
        rose = mix(colours.skin, (232, 56, 74), 0.75)
        canvas.glow(cheek, (wide, 6.4), rose, 0.10 + 0.80 * s["Rosy_Cheeks"] + 0.10 * s["Heavy_Makeup"], face)
        bone = cheek + np.array([side * 2.0, -5.5])
        canvas.glow(
            bone,
            (wide * 0.9, 3.0),
            mix(colours.skin * 1.15, (255, 240, 226), 0.5),
            0.05 + 0.95 * s["High_Cheekbones"],
            face,
            side * -0.35,
        )
        hollow = cheek + np.array([side * 3.0, 7.5])
        canvas.glow(
            hollow,
            (wide * 1.1, 3.4),
            colours.skin * 0.45,
            0.9 * s["High_Cheekbones"] * (1 - 0.5 * s["Chubby"]),
            face,
            side * -0.55,
        )
        canvas.glow(
            cheek + np.array([0, 4.0]), (wide, 7.0), mix(colours.skin, _WHITE, 0.3), 0.35 * s["Chubby"], face
        )
    _paint_blemishes(canvas, head, colours, cheeks)
    _paint_age(canvas, head, colours)


def _paint_blemishes(canvas: Canvas, head: Head, colours: SimpleNamespace, cheeks: list[np.ndarray]) -> None:
    """What `Attractive` means here: an even, glowing skin; without it, freckles and blotches."""
    glow, dull = head.sheet["Attractive"], 1 - head.sheet["Attractive"]
    blotch = mix(colours.skin * 0.66, (150, 60, 40), 0.3)
    spots = np.array([[-9, -4], [-4, 1], [2, -3], [7, 2], [-7, 6], [0, 8], [5, 9], [10, -6]]) * 0.8
    dots = []
    for side, cheek in zip((-1, 1), cheeks, strict=True):
        scale = np.array([side * (head.cos if side * head.sin > 0 else 1.0), 1.0])
        dots += [ellipse(cheek + spot * scale, (0.8, 0.8), 10) for spot in spots]
    brow = head.project(np.array([[-6.0, -21.0], [5.0, -24.0], [11.0, -19.0], [-13.0, -24.0]]))
    dots += [ellipse(spot, (0.9, 0.9), 10) for spot in brow]
    canvas.fill(dots, mix(colours.skin * 0.58, (120, 50, 34), 0.35), 0.42 * dull, head.face, blur=0.2)
    for cheek in cheeks:
        canvas.glow(
            cheek + np.array([0, -3.0]),
            (9, 7),
            mix(colours.skin * 1.1, (255, 236, 214), 0.4),
            0.55 * glow,
            head.face,
        )
        for spot, reach in (((5.0, -1.0), 3.6), ((-3.0, 7.0), 3.0)):
            canvas.glow(cheek + np.array(spot), (reach, reach), blotch, 0.42 * dull, head.face)
    for x, y in ((-9.0, -22.0), (6.0, -18.0), (1.0, 39.5)):
        canvas.glow(head.project(np.array([[x, y]]))[0], (4.0, 3.2), blotch, 0.42 * dull, head.face)


def _paint_age(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    s = head.sheet
    old = 1 - s["Young"]
    line = colours.skin * 0.52
    raised = max(s.au(1), s.au(2))
    for i, y in enumerate((-19.5, -23.5, -27.5)):
        x = np.linspace(-12, 12, 7)
        wave = head.project(np.stack([x, y + 0.7 * np.cos(x / 4 + i) - 2.2 * raised], axis=1))
        canvas.stroke(curve(wave), line, 1.3, 0.95 * max(old, 0.4 * raised), head.face)
    for side, eye in zip((-1, 1), head.eyes, strict=True):
        corner = eye.outline[0]
        for angle in (-0.5, -0.05, 0.4):
            reach = np.array([side * np.cos(angle), np.sin(angle)]) * np.array([head.cos, 1.0])
            tail = np.stack([corner + reach * r for r in (1.8, 3.6, 5.6)])
            canvas.stroke(tail, line, 1.0, 0.9 * max(0.95 * old, 0.55 * s.au(6) * s.au(12)), head.face)
        nose, mouth = head.nose.ring[2 if side < 0 else 8], head.mouth.outer[0 if side < 0 else 6]
        out = np.array([side * (1.8 + 1.5 * s.au(12)), 0])
        fold = curve(
            np.stack(
                [nose + out * 0.5, (nose + mouth) / 2 + out * 1.7, mouth + out * 1.3 + np.array([0, 1.5])]
            )
        )
        canvas.stroke(
            fold,
            colours.skin * 0.58,
            1.3,
            min(0.95, 0.9 * old + 0.38 * s.au(12) + 0.55 * s.au(9)),
            head.face,
            blur=0.25,
        )
        jowl = mouth + np.array([side * 4.5, 8.0])
        canvas.glow(jowl, (3.4, 5.5), colours.skin * 0.5, 0.7 * old, head.face, side * -0.4)
        bag = eye.outline[[0, 7, 6, 5, 4]] + np.array([0, 2.2])
        canvas.glow(bag.mean(axis=0) + np.array([0, 1.2]), (6.2, 2.2),
                    mix(colours.skin * 0.38, (66, 34, 92), 0.4),
                    0.95 * s["Bags_Under_Eyes"] + 0.1 * old, head.face)  # fmt: skip
        canvas.stroke(
            curve(bag + np.array([0, 2.4])),
            colours.skin * 0.5,
            1.1,
            0.85 * s["Bags_Under_Eyes"] + 0.15 * old,
            head.face,
        )
    # Furrows between the brows (4) and across the bridge (9).
    for side in (-1, 1):
        furrow = head.project(np.array([[side * 2.4, -13.0], [side * 1.9, -9.5], [side * 2.5, -6.0]]))
        canvas.stroke(curve(furrow), line, 1.3, 0.95 * s.au(4), head.face)
    for y in (-2.5, 0.5, 3.5):
        wrinkle = head.project(np.array([[-4.0, y + 0.7], [0.0, y - 0.8], [4.0, y + 0.7]]), 3.0)
        canvas.stroke(curve(wrinkle), line, 1.2, 0.95 * s.au(9), head.face)


def paint_eyes(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Whites, irises, lids, lashes and make-up."""
    s = head.sheet
    for eye in head.eyes:
        shadow = np.concatenate([curve(eye.outline[:5]), curve(eye.crease[::-1] + np.array([0, -1.2]))])
        canvas.fill(shadow, (104, 44, 122), 0.85 * s["Heavy_Makeup"], head.face, blur=0.5)
        shape = curve(eye.outline, closed=True)
        canvas.fill(shape, (244, 241, 238))
        clip = canvas.mask(shape)
        wide = 3.5 * (0.94 + 0.06 * head.cos)
        canvas.ellipse(eye.pupil, (wide, 3.5), colours.iris * 0.55, 1.0, clip)
        canvas.ellipse(eye.pupil, (wide * 0.84, 2.95), colours.iris, 1.0, clip)
        canvas.ellipse(eye.pupil, (1.6, 1.6), (12, 10, 12), 1.0, clip)
        canvas.ellipse(eye.pupil + np.array([-1.1, -1.1]), (0.8, 0.8), _WHITE, 0.95, clip)
        canvas.stroke(curve(eye.outline[:5] + np.array([0, 0.7])), _DARK, 1.6, 0.35, clip, blur=0.3)
        upper = curve(eye.outline[:5])
        canvas.stroke(upper, _DARK, 1.25 + 1.1 * s["Heavy_Makeup"], 0.95, taper=True)
        canvas.stroke(curve(eye.outline[[0, 7, 6, 5, 4]]), _DARK, 0.6 + 0.5 * s["Heavy_Makeup"], 0.5)
        canvas.stroke(curve(eye.crease), colours.skin * 0.5, 0.8, 0.65, head.face)
        wing = eye.outline[0] + np.array([[0, 0], [eye.side * 1.6, -0.9], [eye.side * 3.0, -2.2]])
        canvas.stroke(wing, _DARK, 1.3, 0.95 * s["Heavy_Makeup"], head.face)


def paint_brows(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Eyebrows."""
    for brow in head.brows:
        outline = np.concatenate([curve(brow[:5], steps=4), brow[4:5], curve(brow[:4:-1], steps=4)])
        canvas.fill(outline, colours.brow, 0.94, blur=0.22)


def paint_nose(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Bridge, tip, wings, nostrils."""
    s, nose = head.sheet, head.nose
    side = -1.0 if head.sheet.value("light_x") + 4 * head.sin > 0 else 1.0
    flank = nose.ring[[0, 1, 2]] if side < 0 else nose.ring[[10, 9, 8]]
    shade = np.concatenate([curve(nose.bridge), curve(flank[::-1])])
    canvas.fill(shade, colours.skin * 0.62, 0.38, head.face, blur=1.0)
    canvas.stroke(curve(nose.bridge[1:]), mix(colours.skin, _WHITE, 0.6), 2.0, 0.45, head.face, blur=0.6)
    canvas.glow(nose.tip, (3.2 + 1.2 * s["Big_Nose"], 2.6), mix(colours.skin, _WHITE, 0.6), 0.5, head.face)
    ball = np.concatenate([nose.ring[2:9], nose.tip[None] + np.array([[2.0, -3.5], [-2.0, -3.5]])])
    canvas.fill(
        curve(ball, closed=True),
        mix(colours.skin, (214, 88, 74), 0.35) * 0.93,
        0.25 + 0.35 * s["Big_Nose"],
        head.face,
        blur=0.6,
    )
    under = curve(nose.ring[2:9])
    canvas.stroke(
        under + np.array([0, 0.5]), colours.skin * 0.42, 1.4 + 0.5 * s["Big_Nose"], 0.85, head.face, blur=0.2
    )
    for i, flip in ((3, -1), (7, 1)):
        canvas.ellipse(
            nose.ring[i] + np.array([-flip * 0.7, -0.5]),
            (1.5 + 0.5 * s["Big_Nose"] - 0.4 * s["Pointy_Nose"], 0.95),
            _DARK,
            0.8,
            head.face,
        )
        wing = nose.ring[[2, 3]] if flip < 0 else nose.ring[[8, 7]]
        arc = np.stack(
            [wing[0] + np.array([-flip * 0.4, -3.2]), wing[0] + np.array([flip * 0.5, -0.8]), wing[1]]
        )
        canvas.stroke(curve(arc), colours.skin * 0.5, 1.0, 0.7, head.face)
    beak = np.stack(
        [
            nose.bridge[2] + np.array([-1.3, 0]),
            nose.ring[5] + np.array([0, 0.4]),
            nose.bridge[2] + np.array([1.3, 0]),
        ]
    )
    canvas.fill(beak, mix(colours.skin, _WHITE, 0.6), 0.55 * s["Pointy_Nose"], head.face, blur=0.3)
    edge = np.stack(
        [nose.bridge[1] + np.array([side * 2.0, 0]), nose.bridge[2] + np.array([side * 2.2, 0]), nose.ring[5]]
    )
    canvas.stroke(curve(edge), colours.skin * 0.5, 1.2, 0.75 * s["Pointy_Nose"], head.face)


def paint_mouth(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Lips, teeth, tongue."""
    s, mouth = head.sheet, head.mouth
    outer = np.concatenate(
        [curve(mouth.outer[:7]), curve(np.concatenate([mouth.outer[6:], mouth.outer[:1]]))]
    )
    inner = np.concatenate(
        [curve(mouth.inner[:5]), curve(np.concatenate([mouth.inner[4:], mouth.inner[:1]]))]
    )
    canvas.glow(
        mouth.outer[9] + np.array([0, 3.4]),
        (7.0, 1.8),
        colours.skin * 0.5,
        0.45 + 0.3 * s["Big_Lips"],
        head.face,
    )
    canvas.fill(outer, colours.lip)
    clip = canvas.mask(outer)
    upper = np.concatenate([mouth.outer[:7], mouth.inner[4::-1]])
    canvas.fill(upper, colours.lip * 0.72, 0.6, clip, blur=0.3)
    shine = mouth.outer[[10, 9, 8]] * 0.6 + mouth.inner[[7, 6, 5]] * 0.4
    canvas.stroke(
        shine, mix(colours.lip, _WHITE, 0.75), 1.0, 0.4 + 0.35 * s["Wearing_Lipstick"], clip, blur=0.3
    )
    canvas.fill(inner, (62, 12, 18), 1.0)
    hole = canvas.mask(inner)
    openness = np.clip(mouth.gap / 2.0, 0, 1)
    teeth = np.concatenate(
        [mouth.inner[:5], (mouth.inner[:5] * 0.45 + mouth.inner[[0, 7, 6, 5, 4]] * 0.55)[::-1]]
    )
    teeth[5:, 1] = np.minimum(teeth[5:, 1], teeth[4::-1, 1] + 3.6)
    canvas.fill(teeth, (248, 246, 240), openness, hole)
    canvas.glow(
        mouth.inner[6] + np.array([0, 0.6]),
        (5.0, 1.9),
        (198, 74, 84),
        np.clip(mouth.gap / 6 - 0.3, 0, 1),
        hole,
    )
    canvas.stroke(curve(mouth.inner[:5]), (70, 20, 24), 0.9, 0.9 - 0.4 * openness, taper=True)
    for corner in (mouth.inner[0], mouth.inner[4]):
        canvas.ellipse(corner, (0.9, 0.8), colours.skin * 0.38, 0.6)
    # Chin raise: a dimpled chin and a shadow that curls up (unit 17).
    chin = head.contour[16] * 0.45 + mouth.outer[9] * 0.55
    canvas.stroke(
        curve(chin + np.array([[-4.5, 1.0], [0, -0.9], [4.5, 1.0]])),
        colours.skin * 0.5,
        1.3,
        0.85 * s.au(17),
        head.face,
        blur=0.25,
    )
    # Lip press lines beside the mouth (units 15 and 23).
    for i, side in ((0, -1), (6, 1)):
        start = mouth.outer[i]
        canvas.stroke(curve(start + np.array([[side * 0.8, 0.4], [side * 1.8, 2.4], [side * 1.9, 4.4]])),
                      colours.skin * 0.48, 1.2,
                      0.85 * max(s.au(15), 0.6 * s.au(23)), head.face)  # fmt: skip
