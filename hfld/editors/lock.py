"""ExpressionLock: any edit without what moves the landmarks. Nothing is trained."""

from typing import Self

import torch
from torch import Tensor

from hfld.editors.base import Bank, Editor
from hfld.losses import landmark_loss
from hfld.models import Models


class ExpressionLock:
    """An editor around an editor: its ws' go `steps` steps down L_h(G(ws'), G(ws)), the landmark loss.

    Each step is as long as would bring L_h to zero if it were linear (Polyak), and each image keeps the point
    of smallest L_h that was met, ws' included. One edit takes steps * (1 forward + 1 backward) + 2 forward
    passes through G and H. The target changes too, as far as it is reached through landmarks: match strengths
    afterwards.
    """

    def __init__(
        self,
        editor: Editor,
        models: Models,  # G and H; H is not a judge
        *,
        steps: int = 1,
        batch: int = 32,  # images at once
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        self.editor, self.models, self.steps, self.batch = editor, models, steps, batch

    def fit(self, bank: Bank) -> Self:
        self.editor.fit(bank)
        return self

    def edit(self, ws: Tensor, attribute: str, strength: float | Tensor) -> Tensor:
        """The locked edit, in the strength of the editor inside; a ws that it leaves alone stays as it is."""
        edited = self.editor.edit(ws, attribute, strength)
        moved = (edited != ws).flatten(1).any(dim=1)
        if not bool(moved.any()):
            return edited
        with torch.inference_mode(False), torch.enable_grad():
            pairs = zip(ws[moved].split(self.batch), edited[moved].split(self.batch), strict=True)
            # clones are ordinary tensors also under the caller's inference_mode
            correction = torch.cat([self._descend(start.clone(), end.clone()) - end for start, end in pairs])
        result = edited.clone()
        result[moved] += correction
        return result

    def _descend(self, ws: Tensor, edited: Tensor) -> Tensor:
        """Of the points on the way down from `edited`, for each image the one of smallest L_h."""
        with torch.no_grad():
            start = self.models.points(self.models.images(ws))
        here = nearest = edited
        least = torch.full((len(ws),), torch.inf).to(ws)
        for left in range(self.steps, -1, -1):
            x = here.detach().requires_grad_()
            loss = landmark_loss(self.models.points(self.models.images(x)), start)
            better = loss.detach() < least
            nearest = torch.where(better[:, None, None], x.detach(), nearest)
            least = torch.where(better, loss.detach(), least)
            if left:
                (slope,) = torch.autograd.grad(loss.sum(), x)
                length = slope.square().sum(dim=(1, 2)).clamp_min(torch.finfo(slope.dtype).tiny)
                here = x.detach() - (loss.detach() / length)[:, None, None] * slope
        return nearest
