"""State dicts of the references' checkpoints under our names, so that numbers can be compared with them.

Names are those of the public repositories: RameenAbdal/StyleFlow (module/), phil329/SDFlow (models/), Hzzone/
AdaTrans (models/modules.py). AdaTrans' repository does not show the parts of its RealNVP; those names, and
the order of their layers, are those of the library it took them from (tatsy/normalizing-flows-pytorch).
"""

import re
from collections.abc import Mapping

from torch import Tensor

_Rules = tuple[tuple[str, str | None], ...]

_FLOW: _Rules = (
    (r"chain\.\d+\.(step|odefunc\._num_evals)", None),  # counters
    (r"chain\.0\.(weight|bias|running_mean|running_var)", r"first.\1"),
    (r"chain\.2\.(weight|bias|running_mean|running_var)", r"last.\1"),
    (r"chain\.1\.sqrt_end_time", r"flow.sqrt_end_time"),
    (r"chain\.1\.odefunc\.diffeq\.layers\.(\d+)\._layer\.(\w+)", r"flow.dynamics.layers.\1.linear.\2"),
    (r"chain\.1\.odefunc\.diffeq\.layers\.(\d+)\._hyper_gate\.(\w+)", r"flow.dynamics.layers.\1.gate.\2"),
    (r"chain\.1\.odefunc\.diffeq\.layers\.(\d+)\._hyper_bias\.(\w+)", r"flow.dynamics.layers.\1.shift.\2"),
)
_TRAJECTORY: _Rules = (
    (r"func\.input_layer\.(.+)", r"history.\1"),
    (r"func\.rnn\.(.+)", r"memory.\1"),
    (r"func\.main\.(\d+)\.layer\.(.+)", r"blocks.\1.layer.\2"),
    (r"func\.main\.(\d+)\.affine\.scale\.(.+)", r"blocks.\1.scale.\2"),
    (r"func\.main\.(\d+)\.affine\.bias\.(.+)", r"blocks.\1.shift.\2"),
    (r"func\.step_layer\.(.+)", r"length.\1"),
    (r"func\.output_layer\.(.+)", r"direction.\1"),
)
_DENSITY: _Rules = (
    (r"flow\.net\.layers\.\d+\.(batch_mean|batch_var|log_gamma|beta)", None),  # last batch; affine=False
    (r"flow\.net\.layers\.(\d+)\.(running_mean|running_var)", r"layers.\1.\2"),
    (r"flow\.net\.layers\.(\d+)\.s_log_scale", r"layers.\1.scale"),
    (r"flow\.net\.layers\.(\d+)\.s_bias", r"layers.\1.bias"),
    (r"flow\.net\.layers\.(\d+)\.net\.in_block\.0\.module\.(\w+)", r"layers.\1.net.0.\2"),
    (
        r"flow\.net\.layers\.(\d+)\.net\.mid_block\.0\.net\.(\d)\.(?:module\.)?(\w+)",
        r"layers.\1.net.1.net.\2.\3",
    ),
    (
        r"flow\.net\.layers\.(\d+)\.net\.mid_block\.1\.net\.(\d)\.(?:module\.)?(\w+)",
        r"layers.\1.net.2.net.\2.\3",
    ),
    (r"flow\.net\.layers\.(\d+)\.net\.out_block\.0\.(\w+)", r"layers.\1.net.3.\2"),
    (r"flow\.net\.layers\.(\d+)\.net\.out_block\.2\.module\.(\w+)", r"layers.\1.net.5.\2"),
)


def flow_from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """StyleFlow's and SDFlow's flow (one block) -> `ConditionalFlow`.

    StyleFlow's condition is the nine lighting coefficients and then its eight attributes; SDFlow's its
    attributes alone.
    """
    return _renamed(state, _FLOW)


def encoder_from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SDFlow's attribute estimator (a ResNet) -> `ResNet(sigmoid=True)`."""
    return _renamed(state, ((r"backbone\.(.+)", r"\1"),))


def trajectory_from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """AdaTrans' editor -> `Trajectory`."""
    return _renamed(state, _TRAJECTORY)


def density_from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """AdaTrans' density -> `RealNVP`."""
    found = {}
    for key, tensor in _renamed(state, _DENSITY).items():
        key = key.replace(".weight_g", ".length").replace(".weight_v", ".direction")
        found[key] = tensor.flatten() if key.endswith(("running_mean", "running_var")) else tensor
    return found


def _renamed(state: Mapping[str, Tensor], rules: _Rules) -> dict[str, Tensor]:
    """Every key by the first rule that matches all of it; ValueError names a key that none does."""
    found = {}
    for key, tensor in state.items():
        for pattern, name in rules:
            match = re.fullmatch(pattern, key.removeprefix("module."))
            if match:
                if name is not None:
                    found[match.expand(name)] = tensor
                break
        else:
            raise ValueError(f"unknown key {key!r} in the reference's state dict")
    return found
