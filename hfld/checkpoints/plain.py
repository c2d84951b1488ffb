"""The small formats: state_dicts with torchvision's keys, the reference's T, an InterFaceGAN boundary."""

import io
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfld.checkpoints.parts import Part
from hfld.checkpoints.pickles import Record
from hfld.checkpoints.torchfiles import tensor, tensors
from hfld.networks.resnet import BLOCKS

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def state_dict(value: Any) -> dict[str, Any]:
    """The state_dict in `value`: itself, or the one under "model" (the baseline's regressor); else {}."""
    if isinstance(value, dict) and isinstance(value.get("model"), dict):
        value = value["model"]
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return {}
    return {key.removeprefix("module."): item for key, item in value.items()}


def is_resnet(state: dict[str, Any]) -> bool:
    """Whether the keys are those of torchvision's ResNets."""
    return {"conv1.weight", "layer1.0.conv1.weight", "fc.weight"} <= state.keys()


def is_vgg19(state: dict[str, Any]) -> bool:
    """Whether the keys are those of torchvision's VGG19, its convolutions at least."""
    return {"features.0.weight", "features.34.weight"} <= state.keys()


def resnet(state: dict[str, Any]) -> Part:
    """ResNet-18, -34 or -50 with any number of outputs, without a sigmoid: the file does not say whether one
    belongs behind it (`load_network(..., arguments={"sigmoid": True})` declares it).

    Batch norms count their batches since torch 0.4.1; older files (resnet18-5c106cde.pth) get zeros.
    """
    state = tensors(state)
    norms = [key.removesuffix("running_var") for key in state if key.endswith(".running_var")]
    state = {**{f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}, **state}
    blocks = tuple(
        sum(bool(re.fullmatch(rf"layer{stage}\.\d+\.conv1\.weight", key)) for key in state)
        for stage in (1, 2, 3, 4)
    )
    bottleneck = "layer1.0.conv3.weight" in state
    depths = [d for d, counts in BLOCKS.items() if counts == blocks and (d >= 50) == bottleneck]
    if not depths:
        raise ValueError(f"a ResNet with {blocks} blocks; only depths {sorted(BLOCKS)} can be read")
    if state["conv1.weight"].shape[-1] != 7:
        raise ValueError(f"conv1 of size {state['conv1.weight'].shape[-1]}; only torchvision's 7 can be read")
    arguments = {
        "depth": depths[0],
        "width": len(state["bn1.bias"]),
        "outputs": len(state["fc.bias"]),
        "sigmoid": False,
    }
    return Part("ResNet", arguments, state)


def vgg19(state: dict[str, Any]) -> Part:
    """The convolutions of VGG-19; inputs normalised as the baseline does: ImageNet's numbers on [-1, 1]."""
    state = tensors({key: item for key, item in state.items() if key.startswith("features.")})
    arguments = {"width": len(state["features.0.bias"]), **IMAGENET}
    return Part("VGG19Features", arguments, state)


def is_walk(value: Any) -> bool:
    """Whether `value` is the module that the reference saves whole (Enjoy Your Editing)."""
    return isinstance(value, Record) and value.kind == "WalkLinearMultiW"


def walk(value: Record) -> Tensor:
    """T [A, L, w_dim] of the reference; which attributes its rows are is not in the file."""
    T = tensor(value.state["_parameters"]["w"])
    if T.ndim != 3 or not bool(T.isfinite().all()):
        raise ValueError(
            f"w has shape {tuple(T.shape)} or values that are no numbers, expected [A, L, w_dim]"
        )
    return T


def array(data: bytes) -> np.ndarray:
    """The array of an .npy file; no pickled objects."""
    return np.load(io.BytesIO(data), allow_pickle=False)


def boundary(value: np.ndarray) -> Tensor:
    """InterFaceGAN's unit normal of one attribute's boundary, [1, w_dim]."""
    if value.ndim != 2 or len(value) != 1 or value.dtype.kind != "f" or not np.isfinite(value).all():
        raise ValueError(f"an array of {value.dtype} {value.shape}, expected a boundary [1, w_dim] of floats")
    return torch.from_numpy(value.astype(np.float32))
