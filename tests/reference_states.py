"""Random state dicts under the references' names, at toy size."""

import itertools

import torch

D, C, HIDDEN = 4, 3, (6, 5)  # w_dim, numbers in the condition, widths of a flow
ROWS, HID = 2, 5  # of a trajectory


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state_of(shapes, *, seed=0):
    """Random tensors under the references' names; variances are positive."""
    state = {}
    for i, (key, shape) in enumerate(shapes.items()):
        tensor = normal(*shape, seed=seed + i, scale=0.5)
        state[key] = 0.5 + tensor.abs() if key.endswith("var") else tensor
    return state


def flow_state():
    """StyleFlow's and SDFlow's flow."""
    shapes = {}
    for i in (0, 2):
        parts = ("weight", "bias", "running_mean", "running_var")
        shapes |= {f"chain.{i}.{part}": (D,) for part in parts} | {f"chain.{i}.step": (1,)}
    widths = [D, *HIDDEN, D]
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layer = f"chain.1.odefunc.diffeq.layers.{i}"
        shapes |= {f"{layer}._layer.weight": (outputs, inputs), f"{layer}._layer.bias": (outputs,)}
        shapes |= {f"{layer}._hyper_bias.weight": (outputs, 1 + C)}
        shapes |= {f"{layer}._hyper_gate.weight": (outputs, 1 + C), f"{layer}._hyper_gate.bias": (outputs,)}
    state = state_of(shapes)
    state["chain.1.sqrt_end_time"] = torch.tensor(1.1, dtype=torch.float64)
    state["chain.1.odefunc._num_evals"] = torch.tensor(7.0)
    return state


def density_state():
    """AdaTrans' RealNVP, two couplings."""
    width, shapes = 5, {}
    for i in (0, 2):
        names = ("running_mean", "running_var", "batch_mean", "batch_var", "log_gamma", "beta")
        shapes |= {f"flow.net.layers.{i}.{name}": (1, D) for name in names}
    for i in (1, 3):
        layer = f"flow.net.layers.{i}."
        shapes |= {layer + "s_log_scale": (1,), layer + "s_bias": (1,)}
        linear = {"in_block.0": (width, D // 2), "out_block.2": (D, width)}
        for block, place in itertools.product((0, 1), (2, 5)):
            linear[f"mid_block.{block}.net.{place}"] = (width, width)
        for name, (outputs, inputs) in linear.items():
            stem = f"{layer}net.{name}.module."
            shapes |= {
                stem + "bias": (outputs,),
                stem + "weight_g": (inputs,),
                stem + "weight_v": (outputs, inputs),
            }
        norms = ["out_block.0", *(f"mid_block.{b}.net.{k}" for b in (0, 1) for k in (0, 3))]
        for name, part in itertools.product(norms, ("weight", "bias", "running_mean", "running_var")):
            shapes[f"{layer}net.{name}.{part}"] = (width,)
    state = state_of(shapes, seed=100)
    for i in (0, 2):
        state[f"flow.net.layers.{i}.log_gamma"].zero_()
        state[f"flow.net.layers.{i}.beta"].zero_()
    for key in [key for key in state if "block" in key and key.endswith("running_mean")]:
        state[key.replace("running_mean", "num_batches_tracked")] = torch.tensor(3)
    return state


def trajectory_state():
    """AdaTrans' editor, two blocks."""
    shapes = {}

    def perceptron(name, inputs, hidden, outputs):
        shapes.update({f"{name}.0.weight": (hidden, inputs), f"{name}.0.bias": (hidden,)})
        shapes.update(
            {f"{name}.1.{part}": (hidden,) for part in ("weight", "bias", "running_mean", "running_var")}
        )
        shapes.update({f"{name}.3.weight": (outputs, hidden), f"{name}.3.bias": (outputs,)})

    perceptron("func.input_layer", ROWS * D, HID, HID)
    perceptron("func.output_layer", HID, HID, D)
    perceptron("func.step_layer", HID, HID, 1)
    for i in (0, 1):
        perceptron(f"func.main.{i}.layer", HID, HID, HID)
        perceptron(f"func.main.{i}.affine.scale", C, HID, HID)
        perceptron(f"func.main.{i}.affine.bias", C, HID, HID)
        shapes |= {f"func.rnn.weight_ih_l{i}": (4 * HID, HID), f"func.rnn.weight_hh_l{i}": (4 * HID, HID)}
        shapes |= {f"func.rnn.bias_ih_l{i}": (4 * HID,), f"func.rnn.bias_hh_l{i}": (4 * HID,)}
    state = state_of(shapes, seed=200)
    for key in [key for key in state if key.endswith("running_mean")]:
        state[key.replace("running_mean", "num_batches_tracked")] = torch.tensor(3)
    return state
