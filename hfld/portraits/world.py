"""What is known about a latent: a portrait's latent is its parameters, so its exact counterfactual is
known.
"""

from dataclasses import dataclass

import numpy as np

from hfld.config import Profile


@dataclass(frozen=True)
class Truth:
    """Exact facts about N portraits."""

    images: np.ndarray  # [N, H, W, 3] uint8, rendered
    landmarks: np.ndarray  # [N, 106, 2] (x, y) / side
    emotions: np.ndarray  # [N, 7] percent
    strengths: np.ndarray  # [N, 40] in [0, 1], what a judge's scores estimate
    labels: np.ndarray  # [N, 40] bool, strength above .5
    visible: np.ndarray  # [N, 40] bool; False: cannot be read from the pixels, not scored

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> "Truth":
        return Truth(**{name: value[index] for name, value in vars(self).items()})


@dataclass(frozen=True)
class PortraitWorld:
    """The portraits' truth. The drawing code is imported where used: photographs need none of it."""

    size: int  # side of the images, px
    workers: int = 2  # rendering processes
    progress: bool = False

    def counterfactual(self, z: np.ndarray, attribute: str, value: float) -> np.ndarray:
        """The latents [N, 80] of the same people with the same expression and `attribute` at strength
        `value`.
        """
        from hfld.portraits.parameters import counterfactual

        return counterfactual(z, attribute, value)

    def truth(self, z: np.ndarray) -> Truth:
        """What the latents [N, 80] show."""
        from hfld.portraits.parameters import decode
        from hfld.portraits.render import render_latents

        images, landmarks = render_latents(z, self.size, workers=self.workers, progress=self.progress)
        shown = decode(z)
        return Truth(images, landmarks, shown.emotions, shown.strengths, shown.labels, shown.visible)


def world_of(profile: Profile) -> PortraitWorld | None:
    """The profile's truth; None for photographs, whose counterfactuals nobody knows."""
    return PortraitWorld(size=profile.world.size) if profile.world.kind == "portraits" else None
