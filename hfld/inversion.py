"""From a picture to a latent: optimisation in W+, and a copy of G tuned around the latent.

    found = invert(models, photo.image(64), settings.inversion)
    found.stranger                           # a photograph, in a world of drawings: its nearest portrait
    fidelity(found, identity=judges.identity, landmarks=judges.landmarks)

Every distance is a share of the mean distance between the picture and random faces: 1 is as far as any face,
0 the same. Steps are in standard deviations of W along its principal axes. So settings carry over between
generators. Abdal et al. 2019 (W+), Karras et al. 2020 (projection), Zhu et al. 2020 (whitened W), Roich et
al. 2021 (pivotal tuning).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from hfld.attributes import attribute_index
from hfld.config import InversionConfig
from hfld.losses import content_loss, landmark_loss
from hfld.models import Models

W_SAMPLES = 4096  # latents of the mean and the axes of W; only the mapping network sees them
RIDGE = 1e-3  # of W's mean variance, added to every axis: thin ones can be used too
BATCH = 16  # random faces at a time, up to 256 px
EARLY = 0.5  # share of the steps after which a stranger is known: a portrait in hat and beard is near by then
WARM_UP, COOL_DOWN = 0.05, 0.5  # shares of the steps
LOCAL = 0.5  # how far from the pivot, of the way to random latents, a tuned generator is held to the old one


@dataclass(frozen=True)
class Progress:
    """The best so far, after `step` of `steps`."""

    step: int
    steps: int
    ws: Tensor  # [1, L, w_dim]
    image: Tensor  # [1, 3, S, S] in [-1, 1]
    terms: Mapping[str, float]  # distances as shares; "mean" in variances of W


Watch = Callable[[Progress], bool | None]
"""Called after every step; True ends the search, which returns its best so far."""


@dataclass(frozen=True)
class Inversion:
    """A latent, its picture, and how near it is to the target."""

    target: Tensor  # [1, 3, S, S] in [-1, 1]
    ws: Tensor  # [1, L, w_dim]
    image: Tensor  # [1, 3, S, S] in [-1, 1], G(ws)
    terms: Mapping[str, float]
    complete: bool  # False: ended early, by `watch` or as a stranger
    stranger: bool = False  # the target is not of this generator's world, and this is the nearest face of it


@dataclass(frozen=True)
class Fidelity:
    """How faithful an inversion is, read by networks that did not search."""

    perceptual: float  # share of the distance to a random face
    identity: float  # cosine
    landmark_px: float  # mean distance of the landmarks, px of 128


def invert(
    models: Models,
    target: Tensor,  # [1, 3, S, S] in [-1, 1], aligned as the generator's own images
    config: InversionConfig,
    *,
    watch: Watch = lambda progress: None,
    progress: bool = True,
) -> Inversion:
    """The picture's ws [1, L, w_dim]: argmin of sum_k lambda_k d_k(G(ws)) / mean_j d_k(G(w_j)) + lambda_mean
    mean(v^2), where d_k is the distance to the target in F's features (perceptual), pixels and H's landmarks
    (left out where there is no H), v the whitened ws, and w_j random latents, the nearest of which is the
    start. Adam searches; the best latent on its way is the answer. If the perceptual share is still above
    `config.stranger` after half of the steps, the picture is a stranger, and gets the nearest random face.

    ValueError for a target of another shape or range.
    """
    names = ("perceptual", "pixel", "landmark") if models.landmarks is not None else ("perceptual", "pixel")
    weights = {name: getattr(config, f"lambda_{name}") for name in (*names, "mean")}
    goal, steps, limit = _Goal(models, target, names, config), config.steps, config.stranger
    v = goal.start().repeat(1, models.generator.num_ws, 1).requires_grad_(True)
    optimizer = torch.optim.Adam([v], lr=config.lr, betas=(0.9, 0.99))
    least, best, stranger = float("inf"), None, False
    for step in tqdm(range(steps + 1), desc="inversion", disable=not progress):
        done = step / max(steps, 1)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * min(1.0, 0.1 + done / WARM_UP) * min(1.0, (1 - done) / COOL_DOWN)
        ws = goal.ws(v)
        image = models.images(ws).float()
        terms = {**goal.shares(image), "mean": v.square().mean()[None]}
        total = sum(weights[name] * value for name, value in terms.items()).mean()
        if float(total.detach()) < least:
            least, numbers = float(total.detach()), _numbers(terms)
            best = Progress(step, steps, ws.detach().clone(), image.detach().clamp(-1, 1), numbers)
        if step < steps:
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
        stranger = limit is not None and step >= EARLY * steps and best.terms["perceptual"] > limit
        if watch(replace(best, step=step)) or stranger:
            break
    found = Inversion(
        goal.target, best.ws.cpu(), best.image, best.terms, complete=step == steps, stranger=stranger
    )
    return _nearest(goal, found) if stranger else found


def tune(
    models: Models,
    found: Inversion,
    config: InversionConfig,
    *,
    watch: Watch = lambda progress: None,
    progress: bool = True,
) -> nn.Module:
    """A copy of G that draws `found.target` at the pivot `found.ws`: Roich et al. 2021.

    Minimises perceptual and pixel distance at the pivot, and lambda_locality times those between the copy
    and G on the way to random latents, so that other faces stay. The mapping network is not touched.
    `watch` hears of the copy as it is before each step and after the last; True ends the tuning there.
    """
    weights = {"perceptual": config.lambda_perceptual, "pixel": config.lambda_pixel}
    goal = _Goal(models, found.target, tuple(weights), config)
    tuned = copy.deepcopy(models.generator)
    parameters = [p for name, p in tuned.named_parameters() if not name.startswith("mapping.")]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=config.tuning_lr)
    pivot, steps = found.ws.to(models.device), config.tuning_steps
    others = models.ws(models.latents(steps + 1, seed=config.seed + 1, split="train"))
    for step in tqdm(range(steps + 1), desc="tuning", disable=not progress):
        near = torch.lerp(pivot, others[[step]], LOCAL)
        x, y = tuned.synthesis(torch.cat([pivot, near]), noise="fixed").float().split(1)
        with torch.no_grad():
            before = goal.observe(models.images(near).float())
        terms, drift = goal.shares(x), goal.shares(y, before)
        now = Progress(step, steps, found.ws, x.detach().clamp(-1, 1), _numbers(terms))
        if watch(now) or step == steps:
            break
        total = sum(weights[k] * (terms[k] + config.lambda_locality * drift[k]) for k in weights).mean()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
    return tuned.requires_grad_(False)


@torch.inference_mode()
def fidelity(
    found: Inversion,
    *,
    identity: nn.Module,  # -> [N, E]
    landmarks: nn.Module,  # -> [N, 212]: a judge, not the H of the search
    points: Tensor | None = None,  # exact landmarks [106, 2] of the target; None: as read in it
) -> Fidelity:
    """Compare the inversion with its target."""
    pair = torch.cat([found.target, found.image])
    person = identity(pair).float().flatten(1)
    read = landmarks(pair).float().reshape(2, -1, 2)
    true = read[0] if points is None else torch.as_tensor(points).to(read)
    return Fidelity(
        perceptual=found.terms["perceptual"],
        identity=float(F.cosine_similarity(person[:1], person[1:])),
        landmark_px=float(128 * (read[1] - true).norm(dim=-1).mean()),
    )


class _Goal:
    """Distances to a target, in shares of a random face's, and W in standard deviations."""

    def __init__(self, models: Models, target: Tensor, names: Sequence[str], config: InversionConfig) -> None:
        if models.perceptual is None:
            raise ValueError("there is no perceptual network, which inversion needs")
        side = getattr(models.generator, "size", target.shape[-1])
        if target.shape != (1, 3, side, side) or not target.abs().max() <= 10:  # G itself goes beyond 1
            raise ValueError(
                f"target: shape {tuple(target.shape)}, values up to {target.abs().max():.3g}, "
                f"expected [1, 3, {side}, {side}] in [-1, 1]"
            )
        self.models, self.names, self.target = models, names, target.to(models.device)
        self.units: dict[str, Tensor | float] = dict.fromkeys(names, 1.0)
        with torch.no_grad():
            z = models.latents(W_SAMPLES, seed=config.seed, split="train").to(models.device)
            self.w = models.generator.mapping(z).float()
            self.mean, self.axes = _whitening(self.w)
            self.seen = self.observe(self.target)
            ws = models.generator.repeat(self.w[: config.samples])
            parts = [self.shares(models.images(part).float()) for part in ws.split(models.chunk(BATCH))]
        raw = {name: torch.cat([part[name] for part in parts]) for name in names}
        self.units = {name: values.mean().clamp_min(1e-12) for name, values in raw.items()}
        totals = sum(getattr(config, f"lambda_{name}") * raw[name] / self.units[name] for name in names)
        self.nearest = int(totals.argmin())  # of the random faces
        self.alike = raw["perceptual"].argsort()  # the random faces, nearest in F's features first

    def ws(self, v: Tensor) -> Tensor:
        """Whitened ws [N, L, w_dim] -> ws."""
        return self.mean + v @ self.axes

    def start(self) -> Tensor:
        """The nearest of the random latents, whitened [1, 1, w_dim]."""
        return torch.linalg.solve(self.axes.T, self.w[self.nearest] - self.mean)[None, None]

    def observe(self, images: Tensor) -> dict[str, Any]:
        """What is compared of images [N, 3, S, S]."""
        views = {
            "perceptual": lambda: self.models.perceptual(images),
            "pixel": lambda: images,
            "landmark": lambda: self.models.points(images),
        }
        return {name: views[name]() for name in self.names}

    def shares(self, images: Tensor, other: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """name -> distances [N] of images to an observed one, the target if None, in a random face's."""
        one, other = self.observe(images), self.seen if other is None else other
        return {name: _distance(name, one[name], other[name]) / self.units[name] for name in self.names}


@torch.no_grad()
def _nearest(goal: _Goal, found: Inversion) -> Inversion:
    """The random face most like a stranger, in F's features, among those that are sharp.

    Neither pixels, which are nearest to a blurred face, nor landmarks, which H reads in its own world only.
    """
    models, blurry = goal.models, attribute_index("Blurry")
    faces = models.generator.repeat(goal.w[goal.alike]).split(1)
    ws = next((ws for ws in faces if models.score(ws)[0, blurry] <= 0.5), faces[0])
    image = models.images(ws).float()
    terms = _numbers(goal.shares(image))
    return replace(found, ws=ws.cpu(), image=image.clamp(-1, 1), terms=terms)


def _distance(name: str, images: Any, target: Any) -> Tensor:
    """Distances [N] of N observations to one."""
    if name == "perceptual":
        features: Sequence[Tensor] = [f.expand_as(g) for f, g in zip(target, images, strict=True)]
        return content_loss(features, images)
    target = target.expand_as(images)
    if name == "landmark":
        return landmark_loss(images, target)
    return (images - target).square().flatten(1).mean(dim=1)


def _whitening(w: Tensor) -> tuple[Tensor, Tensor]:
    """w [N, w_dim] -> mean [w_dim] and axes [w_dim, w_dim]: w = mean + v @ axes with v about N(0, I).

    Not `hfld.directions.principal_axes`, whose numbers differ: the ridge lengthens axes along which W hardly
    varies, since a photo may need them; T is to stay off them.
    """
    values, vectors = torch.linalg.eigh(torch.cov(w.T))
    deviations = (values.clamp_min(0) + RIDGE * values.mean()).sqrt()
    return w.mean(dim=0), deviations[:, None] * vectors.T


def _numbers(terms: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach().mean()) for name, value in terms.items()}
