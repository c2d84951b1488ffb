"""Painting hair, beards and hats."""

from types import SimpleNamespace

import numpy as np

from hfld.portraits.canvas import Canvas, curve, ribbon
from hfld.portraits.head import Head, smoothstep
from hfld.portraits.palette import mix

_WHITE = np.array([255, 255, 255], dtype=np.float32)
# Right half of the hairline, from the sideburn to the middle: x, y, how far a receding one climbs.
_HAIRLINE = np.array([
    [31.0, 3.0, 0.0], [30.2, -7.0, 0.5], [26.5, -17.0, -1.0], [20.0, -23.5, -9.5],
    [11.0, -27.5, -8.5], [0.0, -29.0, -4.0],
])  # fmt: skip


def shape_hair(head: Head) -> None:
    """Work out the silhouettes of the hair once; `head.hair` serves the layers behind and before the face."""
    s, v = head.sheet, head.sheet.value
    length = smoothstep(0.8 * v("hair_length") + 1.15 - 2.2 * s["Male"], -1.35, 1.75)
    wave, straight = s["Wavy_Hair"], s["Straight_Hair"] * (1 - 0.7 * s["Wavy_Hair"])
    volume = 3.4 + 0.8 * v("hair_volume") + 1.5 * wave - 0.9 * straight + 1.2 * length
    radii = head.skull_radii + volume
    angle = np.linspace(np.pi + 0.34, -0.34, 41)
    ripple = 1 + wave * 0.035 * np.sin(angle * 15)
    outer = (
        head.skull + np.stack([np.cos(angle) * radii[0], -np.sin(angle) * radii[1]], axis=1) * ripple[:, None]
    )

    half = _HAIRLINE[:, :2].copy()
    half[:, 1] += _HAIRLINE[:, 2] * s["Receding_Hairline"] * 1.15
    part = np.clip(v("hair_part"), -2, 2)
    right, left = half.copy(), half[::-1] * np.array([-1, 1])
    tilt = np.array([0, 0, 0.4, 1.0, 1.0, 0.4])
    right[:, 1] -= 1.1 * part * tilt
    left[:, 1] += 1.1 * part * tilt[::-1]
    hairline = head.project(np.concatenate([right, left[1:]]), 1.5)  # right to left
    inner = curve(hairline)[::-1]  # left to right, like `outer`
    inner = inner[np.linspace(0, len(inner) - 1, 41).round().astype(int)]

    # Behind the head: from the crown down to where the hair ends.
    bottom = head.skull[1] + 15 + length * 57
    centre = head.skull[0] - 5.0 * head.sin
    wide = radii[0] + 0.5 + 4.0 * length * (1 - 0.35 * straight)
    y = np.linspace(head.skull[1], bottom, 19)
    t = (y - y[0]) / (bottom - y[0])
    swell = (
        wide
        + np.sin(t * np.pi) * 2.5 * length
        + wave * (3.4 * np.sin((y - 40) * 0.50) + 3.0 * t) * min(1.0, 0.35 + length)
    )
    swell = swell - (1 - straight) * (1 - wave) * 8.0 * t**4
    crown = np.linspace(np.pi, 0, 25)
    top = np.stack([centre + np.cos(crown) * wide, head.skull[1] - np.sin(crown) * radii[1]], axis=1)
    right_edge = np.stack([centre + swell, y], axis=1)
    left_edge = np.stack([centre - swell, y], axis=1)
    head.hair = SimpleNamespace(
        length=length, wave=wave, straight=straight, outer=outer, inner=inner, left=left_edge,
        right=right_edge, top=top,
        bottom=bottom, shown=1 - s["Bald"],
    )  # fmt: skip


def paint_back_hair(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Hair behind the head and neck."""
    hair = head.hair
    ends = np.linspace(hair.right[-1], hair.left[-1], 9)[1:-1]
    ends[:, 1] += (1 - hair.straight) * 3.0 * np.sin(np.linspace(0, np.pi, 7)) + hair.wave * 2.5 * np.sin(
        np.arange(7) * 2.6
    )
    outline = np.concatenate([hair.top, hair.right, ends, hair.left[::-1]])
    canvas.fill(outline, colours.hair * 0.66, hair.shown)
    clip = canvas.mask(outline)
    strands = []
    for f in np.linspace(0.06, 0.94, 13):
        strands.append(ribbon(hair.left * (1 - f) + hair.right * f, 0.9))
    canvas.fill(strands, colours.hair * 0.36, (0.22 + 0.5 * hair.straight) * hair.shown, clip)


def paint_hair(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """The cap, the locks beside the face, bangs; the rim that a bald head keeps."""
    s, hair = head.sheet, head.hair
    light, dark = mix(colours.hair, _WHITE, 0.30) + 6, colours.hair * 0.55
    _paint_rim(canvas, head, colours)
    shown = hair.shown
    if shown < 0.005:
        return
    locks = []
    if hair.length > 0.25:
        reach = smoothstep(hair.length, 0.25, 0.7)
        for side, edge in ((-1, hair.left), (1, hair.right)):
            temple = hair.inner[8 if side < 0 else -9]
            start, end = edge[:1] + np.array([[0, -4.0]]), edge
            jaw = np.stack(
                [hair.inner[1 if side < 0 else -2], *head.contour[[5, 8] if side < 0 else [27, 24]]]
            )
            cheek = jaw + np.array([[side * -0.6, 1.0], [side * 0.0, 0], [side * 2.2, 0]])
            stop = edge[-1] * (0.5 + 0.5 * reach) + np.array([cheek[-1, 0], edge[-1, 1]]) * (
                0.5 - 0.5 * reach
            )
            last = np.array([0.3 * stop[0] + 0.7 * (cheek[-1, 0] + side * 1.5), hair.bottom])
            inside = curve(np.stack([temple + np.array([0, -3.0]), *cheek, last]))
            inside[:, 0] += side * hair.wave * 1.5 * np.sin(inside[:, 1] * 0.5) * smoothstep(hair.length)
            inside = inside[inside[:, 1] <= hair.bottom + 0.5]
            locks.append((np.concatenate([start, end, inside[::-1]]), end, inside))
        canvas.fill([lock for lock, _, _ in locks], colours.hair * 0.97, shown * reach)
    cap = np.concatenate([hair.outer, hair.inner[::-1]])
    canvas.fill(cap, colours.hair, shown)
    clip = canvas.mask(cap, *[lock for lock, _, _ in locks])
    # Bands of light and shade that follow the head, rippling when the hair is wavy.
    ripple = hair.wave * 0.9 * np.sin(np.linspace(0, 34, 41))[:, None] * np.array([[0.3, 1.0]])
    for f, tone, width, alpha in (
        (0.30, light, 3.2, 0.5),
        (0.52, dark, 1.6, 0.45),
        (0.72, light, 1.6, 0.35),
        (0.88, dark, 1.5, 0.4),
        (0.13, dark, 1.4, 0.3),
    ):
        band = hair.outer * (1 - f) + hair.inner * f + ripple
        canvas.stroke(band[2:-2], tone, width, alpha * shown * (1 - 0.55 * hair.straight), clip, blur=0.35)
    comb = [
        ribbon(np.stack([hair.outer[i] * 0.96 + hair.inner[i] * 0.04, hair.inner[i]]), 0.8)
        for i in range(2, 40, 2)
    ]
    canvas.fill(comb, dark * 0.8, 0.75 * hair.straight * shown, clip)
    gloss = hair.outer[8:-8] * 0.62 + hair.inner[8:-8] * 0.38
    canvas.stroke(gloss, light, 3.4, 0.6 * hair.straight * shown, clip, blur=0.5)
    strands = []
    for _, end, inside in locks:
        rows = inside[np.linspace(0, len(inside) - 1, len(end)).round().astype(int)]
        strands += [ribbon(end * (1 - f) + rows * f, 0.9) for f in (0.2, 0.42, 0.64, 0.85)]
    if strands:
        canvas.fill(strands, dark, (0.35 + 0.45 * hair.straight) * shown, clip)
    canvas.stroke(hair.inner, dark, 1.0, 0.55 * shown * (1 - s["Bangs"]), blur=0.25)
    _paint_bangs(canvas, head, colours, shown)


def _paint_bangs(canvas: Canvas, head: Head, colours: SimpleNamespace, shown: float) -> None:
    alpha = head.sheet["Bangs"] * shown
    if alpha < 0.005:
        return
    hair = head.hair
    x = np.linspace(-28.5, 28.5, 15)
    low = -11.5 - 0.004 * x**2 + 1.5 * (np.arange(15) % 2) - 1.0 * hair.straight * (np.arange(15) % 2)
    fringe = head.project(np.stack([x, low], axis=1), 2.0)
    roof = hair.outer[10:31] * 0.45 + hair.inner[10:31] * 0.55
    outline = np.concatenate([roof, curve(fringe, steps=3)[::-1]])
    canvas.fill(outline, colours.hair * 0.93, alpha)
    clip = canvas.mask(outline)
    top = roof[np.linspace(0, 20, 15).round().astype(int)]
    strands = [
        ribbon(np.stack([a, (a + b) / 2 + np.array([0.5, 0]), b]), 0.9)
        for a, b in zip(top[1:-1], fringe[1:-1], strict=True)
    ]
    canvas.fill(strands, colours.hair * 0.5, 0.75 * alpha, clip)
    canvas.stroke(curve(fringe), colours.hair * 0.45, 1.0, 0.8 * alpha)


def _paint_rim(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """The horseshoe of short hair around a bald head."""
    bald = head.sheet["Bald"]
    if bald < 0.005:
        return
    for side in (-1, 1):
        y = np.array([4.0, -4.0, -11.0, -15.0])
        x = np.array([31.5, 31.8, 30.0, 27.0]) * side
        inside = head.project(np.stack([x * np.array([0.95, 0.9, 0.86, 0.9]), y], axis=1))
        reach = head.skull_radii[0] + 1.0
        outside = np.stack(
            [np.full(4, head.skull[0] + side * reach) - side * np.array([0.6, 0, 0.8, 3.0]), inside[:, 1]],
            axis=1,
        )
        canvas.fill(
            curve(np.concatenate([inside, outside[::-1]]), closed=True),
            colours.hair * 0.85,
            0.95 * bald,
            blur=0.3,
        )
    shine = head.project(np.array([[5.0, -38.0]]))[0]
    canvas.glow(shine, (10, 5), mix(colours.skin, _WHITE, 0.85), 0.75 * bald, head.face)


def paint_beard(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """Stubble, full beard, goatee, mustache, sideburns; painted before the mouth."""
    s, contour, mouth, nose = head.sheet, head.contour, head.mouth.outer, head.nose
    kinds = {name: s[name] for name in ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")}
    full = s.full_beard
    under = nose.ring[5] + np.array([0, 2.2])
    left = np.stack(
        [
            contour[4],
            contour[7] * 0.72 + nose.ring[2] * 0.28,
            mouth[0] * 0.75 + contour[9] * 0.25,
            mouth[0] + np.array([-1.0, -3.8]),
        ]
    )
    right = np.stack(
        [
            contour[28],
            contour[25] * 0.72 + nose.ring[8] * 0.28,
            mouth[6] * 0.75 + contour[23] * 0.25,
            mouth[6] + np.array([1.0, -3.8]),
        ]
    )
    edge = curve(
        np.concatenate([left, under[None] + np.array([[-4.0, -0.4], [0, 0.6], [4.0, -0.4]]), right[::-1]])
    )
    region = np.concatenate([edge, contour[28:3:-1] + np.array([0, 0.8])])
    stubble = mix(colours.skin * 0.5, (58, 62, 74), 0.5)
    canvas.fill(region, stubble, 0.62 * kinds["5_o_Clock_Shadow"], head.face, blur=0.9)
    if full > 0.005:
        low = contour[28:3:-1] * np.array([1.0, 1.0]) + np.stack(
            [np.zeros(25), 4.2 * np.sin(np.linspace(0, np.pi, 25))], axis=1
        )
        beard = np.concatenate([edge, low])
        canvas.fill(beard, colours.beard, 0.96 * full, blur=0.35)
        clip = canvas.mask(beard)
        hairs = [
            ribbon(np.stack([a, a * 0.6 + b * 0.4]), 0.7)
            for a, b in zip(low[2:-2:2], np.repeat(mouth[9][None], 11, 0), strict=True)
        ]
        canvas.fill(hairs, mix(colours.beard, _WHITE, 0.22), 0.55 * full, clip)
    chin = contour[16]
    wide = 0.92
    goatee = np.concatenate([
        mouth[:1] + np.array([[-1.2, 1.2]]), mouth[[11, 10]] + np.array([[-1.5, 2.6], [0, 1.6]]),
        mouth[9:10] + np.array([[0, 1.2]]),
        mouth[[8, 7]] + np.array([[0, 1.6], [1.5, 2.6]]), mouth[6:7] + np.array([[1.2, 1.2]]),
        chin[None] + np.array([[8.2 * wide, -4.5], [5.0, 2.0], [0, 4.4], [-5.0, 2.0], [-8.2 * wide, -4.5]]),
    ])  # fmt: skip
    canvas.fill(curve(goatee, closed=True, steps=4), colours.beard, 0.96 * kinds["Goatee"], blur=0.3)
    span = mouth[6, 0] - mouth[0, 0]
    step = np.array([span / 2, 1.0])
    middle = (mouth[3] + under) / 2
    lower = np.array([[-1.02, 3.4], [-0.55, 0.6], [0, 1.0], [0.55, 0.6], [1.02, 3.4]]) * step + middle
    upper = np.array([[0.86, -0.6], [0.4, -2.9], [0, -2.1], [-0.4, -2.9], [-0.86, -0.6]]) * step + middle
    canvas.fill(
        curve(np.concatenate([lower, upper]), closed=True, steps=4),
        colours.beard,
        0.97 * kinds["Mustache"],
        blur=0.25,
    )
    burns = []
    for rim, inward in ((contour[0:7], 1), (contour[32:25:-1], -1)):
        inner = rim + np.stack(
            [
                inward
                * np.array([4.6, 4.7, 4.8, 5.0, 5.2, 5.4, 5.6])
                * (head.cos if inward * head.sin < 0 else 1),
                np.zeros(7),
            ],
            axis=1,
        )
        burns.append(
            np.concatenate([rim[:1] + np.array([[0, -5]]), rim, inner[::-1], inner[:1] + np.array([[0, -5]])])
        )
    canvas.fill(burns, colours.beard, 0.95 * kinds["Sideburns"], head.face, blur=0.3)


def paint_hat(canvas: Canvas, head: Head, colours: SimpleNamespace) -> None:
    """A knitted cap with a folded rim."""
    alpha = head.sheet["Wearing_Hat"]
    if alpha < 0.005:
        return
    radii = head.skull_radii + 5.6
    y = head.project(np.array([[0.0, -21.0]]))[0, 1]
    start = np.arcsin(np.clip((head.skull[1] - y - 1) / radii[1], -1, 1))
    angle = np.linspace(np.pi - start, start, 30)
    dome = head.skull + np.stack([np.cos(angle) * radii[0], -np.sin(angle) * radii[1] * 1.02], axis=1)
    x = np.linspace(dome[0, 0], dome[-1, 0], 13)
    bulge = 3.5 * np.cos(np.linspace(-np.pi / 2, np.pi / 2, 13)) * (1 - head.sin_pitch * 2)
    rim = np.stack([x, y + bulge], axis=1)
    canvas.fill(np.concatenate([dome, curve(rim)[::-1]]), colours.hat, alpha)
    clip = canvas.mask(dome)
    ribs = [
        ribbon(np.stack([dome[i], (dome[i] + rim[j]) / 2 + np.array([0, -1]), rim[j]]), 0.8)
        for i, j in zip(range(3, 28, 3), range(2, 11), strict=True)
    ]
    canvas.fill(ribs, colours.hat * 0.62, 0.55 * alpha, clip)
    canvas.glow(
        head.skull + np.array([-9.0, -radii[1] * 0.7]),
        (11, 7),
        mix(colours.hat, _WHITE, 0.5),
        0.5 * alpha,
        clip,
    )
    fold = np.concatenate([curve(rim) + np.array([0, -8.2]), curve(rim)[::-1] + np.array([0, 0.8])])
    canvas.fill(fold, colours.hat * 0.72, alpha)
    canvas.stroke(
        curve(rim) + np.array([0, -8.2]), mix(colours.hat, _WHITE, 0.35), 0.9, 0.8 * alpha, taper=False
    )
    ticks = [
        ribbon(np.stack([p + np.array([0, -7.4]), p]), 0.7, taper=False) for p in curve(rim, steps=2)[1:-1]
    ]
    canvas.fill(ticks, colours.hat * 0.45, 0.6 * alpha)
