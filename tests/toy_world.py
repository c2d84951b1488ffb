"""A world small enough to be known exactly: pixels are linear in w, and so are the attributes' logits."""

import torch
from torch import Tensor, nn

from hfld.config import DirectionsConfig
from hfld.editors import FITTED, TRAINED, Bank, GanSpace, InterFaceGan, SeFa
from hfld.editors.unsupervised import Validation
from hfld.models import Models

SIDE, W_DIM, ROWS = 8, 12, 4

CONFIG = DirectionsConfig(
    preset="custom",
    steps=8,
    batch=4,
    lr=0.01,
    start="random",
    whiten=False,
    schedule="cosine",
    lambda_regression=10.0,
    lambda_content=0.05,
    lambda_adversarial=0.05,
    lambda_landmark=100.0,
    lambda_latent=0.0,
    landmark_norm="l1",
    landmark_unit="normalized",
    sampling="delta",
    edited=None,
    focus=(),
    focus_weight=1.0,
    regression="corrected",
    adversarial="nonsaturating",
    adversarial_every=1,
    content_every=1,
    discriminator="trained",
    space="w+",
    attributes=("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive"),
    joint=True,
    pool=32,
    refresh=0,
    precision="fp32",
    validation_latents=8,
    validate_every=4,
    seed=1,
)
"""A short training of T."""


class ToyGenerator(nn.Module):
    """Image = a fixed linear map of the mean row of ws."""

    z_dim, w_dim, num_ws = W_DIM, W_DIM, ROWS

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        q, _ = torch.linalg.qr(torch.randn(3 * SIDE * SIDE, W_DIM, generator=generator))
        self.pixels = nn.Parameter(q)  # [3 S S, w_dim], orthonormal columns

    def mapping(self, z: Tensor) -> Tensor:
        return z

    def repeat(self, w: Tensor) -> Tensor:
        return w[:, None].expand(-1, ROWS, -1)

    def synthesis(self, ws: Tensor, noise: str = "fixed") -> Tensor:
        return (ws.mean(dim=1) @ self.pixels.T).reshape(-1, 3, SIDE, SIDE)


class ToyReadout(nn.Module):
    """Reads linear functions of w back from the pixels."""

    def __init__(self, pixels: Tensor, readout: Tensor, *, sigmoid: bool) -> None:
        super().__init__()
        self.matrix = nn.Parameter(readout @ pixels.T)  # [outputs, 3 S S]
        self.sigmoid = sigmoid

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1) @ self.matrix.T
        return x.sigmoid() if self.sigmoid else x


class ToyFeatures(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, images[:, :, ::2, ::2]]


def directions_of_attributes() -> Tensor:
    """[40, w_dim]: the logit of attribute k is 1.5 times coordinate k of w for the first ten, else 0."""
    readout = torch.zeros(40, W_DIM)
    readout[:10, :10] = 1.5 * torch.eye(10)
    return readout


def toy_models(*, landmarks: bool = True, device: str = "cpu") -> Models:
    """Attribute k follows coordinate k of w, the landmarks coordinates 0 and 11, realness coordinate 10."""
    generator = ToyGenerator()
    pixels = generator.pixels.detach()
    moves = torch.zeros(212, W_DIM)
    moves[:, 0] = moves[:, 11] = 0.01
    realness = torch.zeros(1, W_DIM)
    realness[0, 10] = 0.1
    return Models(
        generator=generator,
        regressor=ToyReadout(pixels, directions_of_attributes(), sigmoid=True),
        discriminator=ToyReadout(pixels, realness, sigmoid=False),
        perceptual=ToyFeatures(),
        landmarks=ToyReadout(pixels, moves, sigmoid=False) if landmarks else None,
        device=device,
    )


SPREAD = 2.5 * 0.85 ** torch.arange(W_DIM)
"""Standard deviation of each coordinate in `toy_bank`: its principal components are the coordinates."""


def toy_bank(models: Models, count: int = 2000) -> Bank:
    """Latents whose coordinates vary independently and unequally, with the toy regressor's scores."""
    ws = models.ws(SPREAD * models.latents(count, seed=7, split="train"))
    return Bank(ws, models.score(ws))


def planted_weights() -> list[Tensor]:
    """Style weights of each row: W_DIM - j channels that read coordinate j, so SeFa finds the coordinates."""
    matrix = torch.cat([torch.eye(W_DIM)[[j]].expand(W_DIM - j, -1) for j in range(W_DIM)])
    return [(row + 1.0) * matrix for row in range(ROWS)]


def fitted_editors(models: Models) -> dict[str, GanSpace | InterFaceGan | SeFa]:
    """The editors that learn from a bank, fitted to the toy world."""
    bank = toy_bank(models)
    validation = Validation(models.ws(models.latents(32, seed=7, split="validation")), models.score)
    editors = {
        "ganspace": GanSpace(validation=validation, directions=W_DIM),
        "interfacegan": InterFaceGan(validation=validation, chosen=0.3),
        "sefa": SeFa(weights=planted_weights(), validation=validation, directions=W_DIM),
    }
    new = {name: kind() for name, kind in FITTED.items() if name not in {*editors, *TRAINED}}
    return {name: editor.fit(bank) for name, editor in (editors | new).items()}
