"""Checkpoints of the references' own code as editors of ours, so that numbers can be compared with theirs.

styleflow_from_reference("modellarge10k.pt", target, attributes=(...))  # trained on these attributes
sdflow_from_reference("prior-0010000", "labeldist-0010000", editor_file(weights, "sdflow"))
adatrans_from_reference("model-latest", editor_file(weights, "adatrans"), attributes=("Smiling",))

Each reads state dicts without running a pickle, writes the editor's own file to `target`, where the benchmark
and the latent editor find it, and returns the editor. Sizes are read from the tensors, all else is as in the
references' settings (OFFICIAL_STYLEFLOW and the others). The latents must be those of the generator that the
reference was trained on.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hfld import checkpoints
from hfld.attributes import attribute_index
from hfld.checkpoints import checksums, plain, torchfiles
from hfld.editors import AdaTrans, SDFlow, StyleFlow, TrainedEditor
from hfld.editors.adatrans import OFFICIAL_ADATRANS
from hfld.editors.flow import OFFICIAL_SDFLOW, OFFICIAL_STYLEFLOW
from hfld.editors.reference_keys import (
    density_from_reference,
    encoder_from_reference,
    flow_from_reference,
    trajectory_from_reference,
)
from hfld.editors.trained import TrainedConfig
from hfld.models import Models
from hfld.networks.flows import ConditionalFlow
from hfld.networks.realnvp import RealNVP

State = dict[str, Tensor]


def flow_of_reference(path: Path | str, **settings: Any) -> ConditionalFlow:
    """The flow of StyleFlow or SDFlow alone, for conditions that no regressor here reads.

    StyleFlow's published file wants nine coefficients of light, then gender, glasses, yaw, pitch, baldness,
    beard, age and expression.

    settings: solver, steps, tolerance and adjoint of `ConditionalFlow`.
    """
    state = _read(path, flow_from_reference)
    flow = ConditionalFlow(**_flow_sizes(state), **settings)
    flow.load_state_dict(state)
    return flow.eval().requires_grad_(False)


def styleflow_from_reference(
    flow: Path | str,
    target: Path | str,
    *,
    attributes: Sequence[str],  # what each number of the condition is, among the 40
    rows: int = 18,  # L of the generator's W+
    models: Models | None = None,
) -> StyleFlow:
    """StyleFlow's flow, trained on attributes of CelebA; for its own attributes see `flow_of_reference`."""
    state = _read(flow, flow_from_reference)
    sizes = _flow_sizes(state)
    config = replace(OFFICIAL_STYLEFLOW, attributes=_named(attributes, sizes["condition"], flow))
    config = replace(config, hidden=sizes["hidden"])
    return _saved(StyleFlow, config, state, target, shape=(rows, sizes["dim"]), models=models)


def sdflow_from_reference(
    flow: Path | str,
    encoder: Path | str,
    target: Path | str,
    *,
    attributes: Sequence[str] = OFFICIAL_SDFLOW.attributes,
    rows: int = 18,
    models: Models | None = None,
) -> SDFlow:
    """SDFlow's flow ("prior-...") and attribute estimator ("labeldist-...", any depth).

    The reference shows the estimator its pictures at 256 px, SDFlow here as they come from the generator.
    """
    state, reader = _read(flow, flow_from_reference), _read(encoder, encoder_from_reference)
    sizes, seen = _flow_sizes(state), plain.resnet(reader).arguments
    config = replace(
        OFFICIAL_SDFLOW,
        attributes=_named(attributes, sizes["condition"], flow),
        hidden=sizes["hidden"],
        encoder_depth=seen["depth"],
        encoder_width=seen["width"],
    )
    joined = {**_under("flow", state), **_under("encoder", reader)}
    return _saved(SDFlow, config, joined, target, shape=(rows, sizes["dim"]), models=models)


def adatrans_from_reference(
    trajectory: Path | str,
    target: Path | str,
    *,
    density: Path | str | None = None,  # its RealNVP, which edits do not need; None: `log_density` is NaN
    attributes: Sequence[str] = OFFICIAL_ADATRANS.attributes,  # one to three, those of the file
    models: Models | None = None,
) -> AdaTrans:
    """AdaTrans' editor ("model-latest")."""
    state = _read(trajectory, trajectory_from_reference)
    w_dim, hidden = state["direction.3.weight"].shape
    config = replace(
        OFFICIAL_ADATRANS,
        attributes=_named(attributes, state["blocks.0.scale.0.weight"].shape[1], trajectory),
        hidden=hidden,
        blocks=_count(state, r"blocks\.(\d+)\..*"),
    )
    if density is None:
        network = RealNVP(dim=w_dim, layers=config.density_layers, width=config.density_width)
        likely = {key: _unknown(tensor) for key, tensor in network.state_dict().items()}
    else:
        likely = _read(density, density_from_reference)
        layers, width = _count(likely, r"layers\.(\d+)\..*"), len(likely["layers.1.net.0.bias"])
        config = replace(config, density_layers=layers // 2, density_width=width)
    joined = {**_under("trajectory", state), **_under("density", likely)}
    shape = (state["history.0.weight"].shape[1] // w_dim, w_dim)
    return _saved(AdaTrans, config, joined, target, shape=shape, models=models)


def _read(path: Path | str, renamed: Callable[[Mapping[str, Tensor]], State]) -> State:
    """The state dict in a file, under our names; ValueError names the file and what is wrong with it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; fetch it from where its authors offer it")
    digest = checkpoints.sha256(path)
    checksums.compare(path, digest)
    try:
        found = plain.state_dict(torchfiles.read(path.read_bytes()))
        state = renamed({key: torchfiles.tensor(value) for key, value in found.items()})
    except Exception as error:  # a damaged file may trip over anything
        raise ValueError(f"{path} is no checkpoint of this reference: {error}") from error
    if not state:
        raise ValueError(f"{path} is no checkpoint of this reference: it holds no tensors by name")
    checksums.remember(path, digest)
    return state


def _flow_sizes(state: State) -> dict[str, Any]:
    """Arguments of `ConditionalFlow`, read from its tensors."""
    layers = [
        state[f"flow.dynamics.layers.{i}.linear.weight"]
        for i in range(_count(state, r"flow\.dynamics\.layers\.(\d+)\..*"))
    ]
    condition = state["flow.dynamics.layers.0.shift.weight"].shape[1] - 1  # and the time
    hidden = tuple(len(weight) for weight in layers[:-1])
    return {"dim": layers[0].shape[1], "condition": condition, "hidden": hidden}


def _count(state: State, pattern: str) -> int:
    """How many numbered parts the keys that match name."""
    return 1 + max(int(found[1]) for key in state if (found := re.fullmatch(pattern, key)))


def _named(attributes: Sequence[str], count: int, path: Path | str) -> tuple[str, ...]:
    for name in attributes:
        attribute_index(name)
    if len(attributes) != count:
        raise ValueError(
            f"attributes must name the {count} numbers of the condition in {path}, not {len(attributes)}"
        )
    return tuple(attributes)


def _under(name: str, state: State) -> State:
    return {f"{name}.{key}": tensor for key, tensor in state.items()}


def _unknown(tensor: Tensor) -> Tensor:
    return torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor


def _saved(
    kind: type[TrainedEditor],
    config: TrainedConfig,
    state: State,
    target: Path | str,
    *,
    shape: tuple[int, int],
    models: Models | None,
) -> Any:
    """The file that `kind.save` would write, and what it loads from it."""
    metadata = {"editor": kind.__name__, "config": asdict(config), "shape": list(shape), "scale": 1.0}
    checkpoints.save(target, state, {**metadata, "history": [], "watched": [], "seconds": 0.0, "hashes": {}})
    try:
        return kind.load(Path(target), models=models)
    except RuntimeError as error:  # tensors that are missing or too many
        Path(target).unlink()
        raise ValueError(f"the files do not hold all of {kind.__name__}: {error}") from error
