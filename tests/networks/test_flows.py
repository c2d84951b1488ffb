"""Flows and AdaTrans' networks against naive float64 computations that share weights and nothing else.

The naive ones read the references' state dicts, so they also prove the key maps.
"""

import itertools
import math

import numpy as np
import pytest
import reference_states
import torch
from reference_states import HID, HIDDEN, ROWS, C, D, normal

from hfld.editors.reference_keys import (
    density_from_reference,
    encoder_from_reference,
    flow_from_reference,
    trajectory_from_reference,
)
from hfld.networks.flows import (
    ConditionalFlow,
    ContinuousFlow,
    MovingBatchNorm,
    hutchinson,
    standard_normal_log_prob,
)
from hfld.networks.realnvp import ColumnNormLinear, RealNVP
from hfld.networks.resnet import ResNet
from hfld.networks.trajectory import Trajectory, along


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def weights(state):
    return {key: tensor.numpy() for key, tensor in state.items()}


# StyleFlow and SDFlow


@pytest.fixture
def flow_state():
    return reference_states.flow_state()


def flow_of(state, **settings):
    flow = ConditionalFlow(dim=D, condition=C, hidden=HIDDEN, **settings).double().eval()
    flow.load_state_dict(flow_from_reference(state))
    return flow


def naive_speed(p, t, x, c):
    """dx/dt of one row, as METHODS' formula has it."""
    context = np.concatenate([[t], c])
    layers = len(HIDDEN) + 1
    for i in range(layers):
        layer = f"chain.1.odefunc.diffeq.layers.{i}."
        gate = sigmoid(p[layer + "_hyper_gate.weight"] @ context + p[layer + "_hyper_gate.bias"])
        x = (p[layer + "_layer.weight"] @ x + p[layer + "_layer.bias"]) * gate
        x = x + p[layer + "_hyper_bias.weight"] @ context
        x = np.tanh(x) if i < layers - 1 else x
    return x


def naive_trace(p, t, x, c, h=1e-5):
    steps = h * np.eye(D)
    return sum(
        (naive_speed(p, t, x + e, c) - naive_speed(p, t, x - e, c))[i] for i, e in enumerate(steps)
    ) / (2 * h)


def naive_flow(p, x, c, steps=100):
    """z and log|det dz/dx| of one row by classical RK4 and central differences."""

    def normalise(i, x):
        factor = np.exp(p[f"chain.{i}.weight"]) / np.sqrt(p[f"chain.{i}.running_var"] + 1e-4)
        return (x - p[f"chain.{i}.running_mean"]) * factor + p[f"chain.{i}.bias"], np.log(factor).sum()

    x, log_det = normalise(0, x)
    h = p["chain.1.sqrt_end_time"] ** 2 / steps
    for n in range(steps):
        t = n * h
        k1 = naive_speed(p, t, x, c)
        k2 = naive_speed(p, t + h / 2, x + h / 2 * k1, c)
        k3 = naive_speed(p, t + h / 2, x + h / 2 * k2, c)
        k4 = naive_speed(p, t + h, x + h * k3, c)
        middle = x + h / 2 * k2
        after = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        traces = [naive_trace(p, t + s * h, y, c) for s, y in ((0, x), (0.5, middle), (1, after))]
        log_det += h / 6 * (traces[0] + 4 * traces[1] + traces[2])  # Simpson's rule
        x = after
    z, last = normalise(2, x)
    return z, log_det + last


def exact_divergence(dx, x):
    """The trace of each row's Jacobian, by D backward passes."""
    units = torch.eye(D, dtype=x.dtype)
    parts = [torch.autograd.grad(dx, x, unit.expand_as(x), create_graph=True)[0] for unit in units]
    return sum(part[..., i] for i, part in enumerate(parts))


def log_prob(flow, x, condition, divergence):
    z, log_det = flow.transform(x, condition, divergence)
    return standard_normal_log_prob(z) + log_det


@pytest.mark.parametrize("solver", ["dopri5", "rk4"])
def test_flow_equals_the_naive_computation_on_the_references_weights(flow_state, solver):
    x, c = normal(2, 3, D, seed=50), normal(2, C, seed=51)
    flow = flow_of(flow_state, solver=solver)
    z, log_det = flow.transform(x, c, exact_divergence)
    for n, r in itertools.product(range(2), range(3)):
        expected, expected_log_det = naive_flow(weights(flow_state), x[n, r].numpy(), c[n].numpy())
        np.testing.assert_allclose(z[n, r].detach(), expected, atol=1e-4)
        assert abs(float(log_det[n, r].detach()) - expected_log_det) < 1e-4
    torch.testing.assert_close(flow(x, c), z, atol=2e-4, rtol=0)  # without the density: the same path
    torch.testing.assert_close(flow.inverse(z, c), x, atol=2e-4, rtol=0)


def test_log_density_is_exact(flow_state):
    """log p(x) = log N(z) + log|det dz/dx| with the Jacobian of the whole map."""
    flow = flow_of(flow_state, tolerance=1e-8)
    x, c = normal(1, 1, D, seed=52), normal(1, C, seed=53)
    jacobian = torch.autograd.functional.jacobian(lambda y: flow(y[None, None], c)[0, 0], x[0, 0])
    z = flow(x, c)[0, 0]
    expected = -0.5 * (z @ z) - D / 2 * math.log(2 * math.pi) + torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(log_prob(flow, x, c, exact_divergence)[0, 0], expected, atol=1e-6, rtol=0)


def test_probes_give_the_trace_on_average():
    x = normal(2, 3, D, seed=1).requires_grad_()
    matrix = normal(D, D, seed=2)
    dx = (x @ matrix).tanh()
    expected = ((1 - dx.square()) * matrix.diag()).sum(dim=-1)
    torch.testing.assert_close(exact_divergence(dx, x), expected)
    signs = [torch.tensor(e, dtype=x.dtype).expand_as(x) for e in itertools.product([-1.0, 1.0], repeat=D)]
    mean = torch.stack([hutchinson(probe)(dx, x) for probe in signs]).mean(dim=0)  # all 2^D of them
    torch.testing.assert_close(mean, expected)


def test_adjoint_gradients_equal_those_through_the_solver(flow_state):
    """Also with respect to the condition, which SDFlow's encoder learns from."""
    x, probe = normal(2, 2, D, seed=3), normal(2, 2, D, seed=4)
    found = []
    for adjoint in (True, False):
        flow = flow_of(flow_state, adjoint=adjoint, tolerance=1e-8)
        c = normal(2, C, seed=5).requires_grad_()
        loss = -log_prob(flow, x, 2 * c, hutchinson(probe)).mean()
        loss.backward()
        found.append([c.grad, *(parameter.grad for parameter in flow.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert all(gradient.abs().max() > 0 for gradient in found[0])


def test_gradient_of_the_end_time_is_the_difference_quotient(flow_state):
    flow = flow_of(flow_state, solver="rk4", adjoint=False)
    x, c = normal(1, 1, D, seed=6), normal(1, C, seed=7)
    time = flow.flow.sqrt_end_time
    flow(x, c).sum().backward()
    values = []
    with torch.no_grad():
        for h in (1e-5, -1e-5):
            time.add_(h)
            values.append(flow(x, c).sum())
            time.sub_(h)
    torch.testing.assert_close(time.grad, (values[0] - values[1]) / 2e-5, atol=1e-6, rtol=1e-6)


def test_normalisation_uses_the_statistics_before_it_moves_them():
    norm = MovingBatchNorm(D).double()
    x = 3 + 2 * normal(64, 2, D)
    y, log_det = norm(x)
    torch.testing.assert_close(y, x / math.sqrt(1 + 1e-4))
    torch.testing.assert_close(log_det, torch.tensor(-0.5 * D * math.log(1 + 1e-4), dtype=x.dtype))
    torch.testing.assert_close(norm.running_mean, 0.1 * x.flatten(0, 1).mean(dim=0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.flatten(0, 1).var(dim=0))
    norm.eval()
    before = norm.running_mean.clone()
    torch.testing.assert_close(norm.inverse(norm(x)[0]), x)
    assert torch.equal(norm.running_mean, before)


def test_unknown_solver_is_named():
    with pytest.raises(ValueError, match="solver must be one of"):
        ContinuousFlow(dim=2, hidden=(2,), condition=1, solver="euler")


# AdaTrans' density


@pytest.fixture
def density_state():
    return reference_states.density_state()


def naive_linear(p, name, x):
    v, g = p[name + ".weight_v"], p[name + ".weight_g"]
    weight = np.empty_like(v)
    for j in range(v.shape[1]):  # a norm per input
        weight[:, j] = v[:, j] * g[j] / (math.sqrt((v[:, j] ** 2).sum()) + 1e-5)
    return weight @ x + p[name + ".bias"]


def naive_relu_norm(p, name, x):
    x = (x - p[name + ".running_mean"]) / np.sqrt(p[name + ".running_var"] + 1e-5)
    return np.maximum(x * p[name + ".weight"] + p[name + ".bias"], 0)


def naive_density(p, x):
    log_det = 0.0
    for i in (0, 2):
        norm, layer = f"flow.net.layers.{i}.", f"flow.net.layers.{i + 1}."
        x = (x - p[norm + "running_mean"][0]) / np.sqrt(p[norm + "running_var"][0])
        log_det -= 0.5 * np.log(p[norm + "running_var"]).sum()
        changed, kept = (slice(0, D, 2), slice(1, D, 2)) if i == 0 else (slice(1, D, 2), slice(0, D, 2))
        y = naive_linear(p, layer + "net.in_block.0.module", x[kept])
        for block in (0, 1):
            name = f"{layer}net.mid_block.{block}.net."
            inner = naive_linear(p, name + "2.module", naive_relu_norm(p, name + "0", y))
            y = y + naive_linear(p, name + "5.module", naive_relu_norm(p, name + "3", inner))
        y = naive_linear(
            p, layer + "net.out_block.2.module", naive_relu_norm(p, layer + "net.out_block.0", y)
        )
        s = np.tanh(y[D // 2 :]) * p[layer + "s_log_scale"] + p[layer + "s_bias"]
        x = x.copy()
        x[changed] = x[changed] * np.exp(s) + y[: D // 2]
        log_det += s.sum()
    return -0.5 * (x**2).sum() - D / 2 * math.log(2 * math.pi) + log_det


def test_density_equals_the_naive_computation_on_the_references_weights(density_state):
    density = RealNVP(dim=D, layers=2, width=5).double().eval()
    density.load_state_dict(density_from_reference(density_state))
    x = normal(3, 2, D, seed=60)
    found = density.log_prob(x).detach()
    for n, r in itertools.product(range(3), range(2)):
        expected = naive_density(weights(density_state), x[n, r].numpy())
        assert abs(float(found[n, r]) - expected) < 1e-9
    _, log_det = density(x[0])
    jacobian = torch.autograd.functional.jacobian(lambda y: density(y[None])[0][0], x[0, 0])
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det[0])


def test_density_learns_a_distribution():
    """Two correlated dimensions: the entropy is known."""
    torch.manual_seed(0)
    density = RealNVP(dim=2, layers=4, width=16)
    mix = torch.tensor([[1.0, 0.0], [0.9, 0.3]])
    optimizer = torch.optim.Adam(density.parameters(), lr=1e-2)
    for i in range(200):
        x = normal(256, 2, seed=i).float() @ mix.T + 2
        loss = -density.log_prob(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    held_out = normal(4000, 2, seed=1000).float() @ mix.T + 2
    entropy = 1 + math.log(2 * math.pi) + math.log(0.3)
    with torch.no_grad():
        nll = -float(density.eval().log_prob(held_out).mean())
    assert nll == pytest.approx(entropy, abs=0.1)


def test_column_norm_starts_as_the_plain_layer_and_halves_must_exist():
    torch.manual_seed(0)
    layer = ColumnNormLinear(3, 5)
    x = torch.eye(3)
    torch.testing.assert_close((layer(x) - layer.bias).norm(dim=1), layer.length, atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="dim must be even"):
        RealNVP(dim=3)


# AdaTrans' editor


@pytest.fixture
def trajectory_state():
    return reference_states.trajectory_state()


def naive_perceptron(p, name, x):
    y = naive_relu_norm(p, f"{name}.1", p[f"{name}.0.weight"] @ x + p[f"{name}.0.bias"])
    return p[f"{name}.3.weight"] @ y + p[f"{name}.3.bias"]


def naive_lstm(p, layer, inputs):
    h, cell, outputs = np.zeros(HID), np.zeros(HID), []
    for x in inputs:
        gates = p[f"func.rnn.weight_ih_l{layer}"] @ x + p[f"func.rnn.bias_ih_l{layer}"]
        gates = gates + p[f"func.rnn.weight_hh_l{layer}"] @ h + p[f"func.rnn.bias_hh_l{layer}"]
        enter, forget, new, out = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        h = sigmoid(out) * np.tanh(cell)
        outputs.append(h)
    return outputs


def naive_trajectory(p, ws, c, steps):
    states = [ws]
    for _ in range(steps):
        seen = [naive_perceptron(p, "func.input_layer", w.flatten()) for w in states]
        y = naive_lstm(p, 1, naive_lstm(p, 0, seen))[-1]
        for i in (0, 1):
            scale = np.exp(naive_perceptron(p, f"func.main.{i}.affine.scale", c))
            shift = naive_perceptron(p, f"func.main.{i}.affine.bias", c)
            y = naive_perceptron(p, f"func.main.{i}.layer", y) * scale + shift
        direction = naive_perceptron(p, "func.output_layer", y)
        size = sigmoid(naive_perceptron(p, "func.step_layer", y))
        states.append(states[-1] + size * direction / np.linalg.norm(direction))
    return np.stack(states)


def test_trajectory_equals_the_naive_computation_on_the_references_weights(trajectory_state):
    net = Trajectory(rows=ROWS, w_dim=D, condition=C, hidden=HID, blocks=2).double().eval()
    net.load_state_dict(trajectory_from_reference(trajectory_state))
    ws, c = normal(3, ROWS, D, seed=70), normal(3, C, seed=71)
    offsets = net(ws, c, 4)
    assert offsets.shape == (5, 3, 1, D)
    states = ws + offsets
    for n in range(3):
        expected = naive_trajectory(weights(trajectory_state), ws[n].numpy(), c[n].numpy(), 4)
        np.testing.assert_allclose(states[:, n].detach(), expected, atol=1e-10)
    lengths = offsets.diff(dim=0).norm(dim=-1)
    assert ((lengths > 0) & (lengths < 1)).all()


def test_full_width_has_the_published_number_of_parameters():
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    assert count(Trajectory(rows=18, w_dim=512, condition=3)) == pytest.approx(20.5e6, rel=0.01)
    assert count(RealNVP(dim=512)) == pytest.approx(0.30e6, rel=0.03)


def test_points_along_a_path():
    states = normal(4, 3, ROWS, D)
    position = torch.tensor([0.0, 1.25, 3.0], dtype=torch.float64)
    found = along(states, position)
    assert torch.equal(found[0], states[0, 0])
    torch.testing.assert_close(found[1], 0.75 * states[1, 1] + 0.25 * states[2, 1])
    torch.testing.assert_close(found[2], states[3, 2])
    assert torch.equal(along(states[:1], torch.zeros(3)), states[0])


def test_encoder_keys_and_unknown_keys():
    state = ResNet(depth=18, width=4, outputs=C, sigmoid=True).state_dict()
    renamed = encoder_from_reference({f"module.backbone.{key}": value for key, value in state.items()})
    assert renamed.keys() == state.keys()
    with pytest.raises(ValueError, match=r"unknown key 'chain\.3\.weight'"):
        flow_from_reference({"chain.3.weight": torch.zeros(1)})
