"""NVIDIA's original StyleGAN2 pickles (TensorFlow), among them the paper's config-f at 1024.

A pickled (G, D, Gs) of `dnnlib.tflib.network.Network`: static arguments, variables by name, and for G the
components `mapping` and `synthesis`; source code beside them, which is not read. Variables become ours by
turning [in, out] into [out, in] and [k, k, in, out] into [out, in, k, k], by adding the 1 that the official
code adds to style biases at run time, and by flipping the kernels of upsampling convolutions.
"""

from typing import Any

from torch import Tensor

from hfld.checkpoints import stylegan2
from hfld.checkpoints.parts import Part, rename
from hfld.checkpoints.pickles import Record, brief, short, typed
from hfld.checkpoints.torchfiles import tensors

NAMES = ("generator_raw", "discriminator", "generator")  # the order G, D, Gs of the pickled tuple
COMPONENTS = ("mapping", "synthesis")  # of a generator
FILTER = [1, 3, 3, 1]
SAME = {  # static arguments that change the arithmetic, with the one value that can be read
    "label_size": 0,
    "num_channels": 3,
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "use_noise": True,
    "mbstd_num_features": 1,
}
_SUFFIX = {"weight": "weight", "bias": "bias", "mod_weight": "style.weight", "mod_bias": "style.bias"}
_SUFFIX |= {"noise_strength": "noise_strength"}
_VARIABLE = f"({'|'.join(_SUFFIX)})"


_GENERATOR = (
    (r"dlatent_avg", lambda: "w_avg"),
    (r"mapping/Dense(\d+)/(weight|bias)", lambda i, x: f"mapping.layers.{i}.{x}"),
    (r"synthesis/4x4/Const/const", lambda: "synthesis.constant"),
    (r"synthesis/noise(\d+)", lambda i: f"synthesis.convs.{i}.noise"),
    (rf"synthesis/4x4/Conv/{_VARIABLE}", lambda x: f"synthesis.convs.0.{_SUFFIX[x]}"),
    (
        rf"synthesis/(\d+)x\d+/Conv0_up/{_VARIABLE}",
        lambda s, x: f"synthesis.convs.{2 * stylegan2.level(s) - 1}.{_SUFFIX[x]}",
    ),
    (
        rf"synthesis/(\d+)x\d+/Conv1/{_VARIABLE}",
        lambda s, x: f"synthesis.convs.{2 * stylegan2.level(s)}.{_SUFFIX[x]}",
    ),
    (
        rf"synthesis/(\d+)x\d+/ToRGB/{_VARIABLE}",
        lambda s, x: f"synthesis.to_rgbs.{stylegan2.level(s)}.{_SUFFIX[x]}",
    ),
)


_DISCRIMINATOR = {
    "from_rgb": r"\d+x\d+/FromRGB/",
    "conv1": r"(\d+)x\d+/Conv0/",
    "conv2": r"(\d+)x\d+/Conv1_down/",
    "skip": r"(\d+)x\d+/Skip/",
    "conv": r"4x4/Conv/",
    "dense": r"4x4/Dense0/",
    "out": r"Output/",
}


def matches(value: Any) -> bool:
    """Whether `value` is such a pickle's object: (G, D, Gs), or a generator alone."""
    networks = value if isinstance(value, tuple) else (value,)
    return len(networks) in (1, 3) and all(isinstance(n, Record) and n.kind == "Network" for n in networks)


def read(value: Any) -> dict[str, Part]:
    """The networks of a pickle: generator (Gs), generator_raw (G), discriminator (D)."""
    if isinstance(value, Record):
        return {"generator": _generator(value)}
    return {
        name: _discriminator(network) if name == "discriminator" else _generator(network)
        for name, network in zip(NAMES, value, strict=True)
    }


def _variables(network: Record) -> dict[str, Tensor]:
    """Own variables and those of the components, in our axis order."""
    components = typed(dict, network.state["components"])
    if len(components) > len(COMPONENTS) or not components.keys() <= set(COMPONENTS):
        raise ValueError(f"{len(components)} components, expected {' and '.join(COMPONENTS)} or none")
    owners = {"": network, **{f"{name}/": part for name, part in components.items()}}
    named = {
        scope + short(name): value
        for scope, owner in owners.items()
        for name, value in owner.state["variables"]
    }
    named.pop("lod", None)
    return {key: _ours(key, value) for key, value in tensors(named).items()}


def _ours(name: str, value: Tensor) -> Tensor:
    scope, _, kind = name.rpartition("/")
    if kind == "mod_bias":
        return value + 1
    if kind in ("weight", "mod_weight") and value.ndim == 2:
        return value.T.contiguous()
    if kind == "weight" and value.ndim == 4:
        value = value.flip(0, 1) if scope.endswith("_up") else value
        return value.permute(3, 2, 0, 1).contiguous()
    return value


def _static(network: Record, architecture: str) -> dict[str, Any]:
    """The static arguments; ValueError names one that our networks cannot follow."""
    given = network.state["static_kwargs"]
    for name, only in {**SAME, "architecture": architecture, "resample_kernel": FILTER}.items():
        if name in given and given[name] != only:
            raise ValueError(f"{name} is {brief(given[name])}; only {only} can be read")
    return given


def _clamp(given: dict[str, Any]) -> float | None:
    return None if given.get("conv_clamp") is None else float(given["conv_clamp"])


def _generator(network: Record) -> Part:
    given = _static(network, "skip")
    variables = _variables(network)
    if "synthesis/4x4/ToRGB/weight" not in variables:
        raise ValueError("a generator of another design than StyleGAN2's config-e and -f (no 4x4/ToRGB)")
    state = rename(variables, _GENERATOR)
    arguments = {
        "normalize_z": bool(given.get("normalize_latents", True)),
        "mapping_lr": float(given.get("mapping_lrmul", 0.01)),
        "clamp": _clamp(given),
    }
    return Part("Generator", stylegan2.generator_arguments(state) | arguments, state)


def _discriminator(network: Record) -> Part:
    given = _static(network, "resnet")
    variables = _variables(network)
    size = max(int(key.split("x")[0]) for key in variables if key.endswith("/FromRGB/bias"))
    state = rename(variables, stylegan2.discriminator_rules(size, _DISCRIMINATOR))
    arguments = {"group": typed(int, given.get("mbstd_group_size", 4)), "clamp": _clamp(given)}
    return Part("Discriminator", stylegan2.discriminator_arguments(state) | arguments, state)
