"""MobileStyleGAN: the quick way on a CPU against the plain one (its files: checkpoints/test_random_face)."""

import pytest
import torch
import torch.nn.functional as F

from hfld.networks import mobile_stylegan
from hfld.networks.mobile_stylegan import MobileStyleGAN, _SeparableConv, idwt, separable_conv

CHANNELS = {4: 8, 8: 8, 16: 4, 32: 4}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    network = MobileStyleGAN(size=64, z_dim=6, w_dim=6, mapping_layers=2, channels=CHANNELS)
    for layer in network.synthesis.convs:
        layer.noise.normal_()
        torch.nn.init.normal_(layer.bias)
    for style in network.synthesis.styles:
        torch.nn.init.ones_(style.bias)  # as in a trained one, most styles are positive
    return network.double().eval().requires_grad_(False)


def layer(up, *, outputs=3, side=8, width=4):
    """Arguments of one separable convolution, a sample's style among them negative."""
    inputs = 4 * width if up else width
    x = random(2, inputs, side // 2 if up else side, side // 2 if up else side)
    styles = (random(2, inputs, seed=1) if up else None), random(2, width, seed=2)
    weights = random(width, 1, 3, 3, seed=3), random(outputs, width, seed=4), random(outputs, seed=5)
    return (
        x.contiguous(memory_format=torch.channels_last),
        *styles,
        *weights,
        random(1, 1, side, side, seed=6),
    )


def naive_idwt(x):
    n, c, h, w = x.shape
    out = x.new_zeros(n, c // 4, 2 * h, 2 * w)
    signs = {(0, 0): (1, 1, 1), (0, 1): (1, -1, -1), (1, 0): (-1, 1, -1), (1, 1): (-1, -1, 1)}
    low, *high = x.split(c // 4, dim=1)
    for (i, j), sign in signs.items():
        out[:, :, i::2, j::2] = (low + sum(s * band for s, band in zip(sign, high, strict=True))) / 2
    return out


def test_wavelet_is_orthonormal_and_as_written_out():
    x = random(2, 8, 3, 5)
    torch.testing.assert_close(idwt(x), naive_idwt(x))
    assert float(idwt(x).square().sum()) == pytest.approx(float(x.square().sum()))
    torch.testing.assert_close(F.avg_pool2d(idwt(x), 2), x[:, :2] / 2)


@pytest.mark.parametrize("up", [False, True])
def test_plain_convolution_is_its_steps(up):
    x, scale, style, depthwise, weight, bias, noise = layer(up)
    y = naive_idwt(x * scale[:, :, None, None]) if up else x
    y = F.pad(y * style[:, :, None, None], (1, 1, 1, 1))
    expected = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    for i in range(8):
        for j in range(8):
            seen = (y[:, :, i : i + 3, j : j + 3] * depthwise[:, 0]).sum(dim=(2, 3))
            expected[:, :, i, j] = seen @ weight.T + bias + noise[0, 0, i, j]
    expected = torch.where(expected > 0, expected, 0.2 * expected)
    torch.testing.assert_close(separable_conv(x, scale, style, depthwise, weight, bias, noise), expected)


@pytest.mark.parametrize("piece", [1, 64, 100, 1 << 18])  # two rows, some with a rest, all at once
@pytest.mark.parametrize("up", [False, True])
def test_piece_by_piece_is_the_same(up, piece, monkeypatch):
    monkeypatch.setattr(mobile_stylegan, "PIECE", piece)
    arguments = layer(up, side=10)
    given, wanted = [], []
    for function, gradients in ((_SeparableConv.apply, given), (separable_conv, wanted)):
        inputs = [
            value.clone().requires_grad_(True) if value is not None else None for value in arguments[:3]
        ]
        y = function(*inputs, *arguments[3:])
        (y * random(*y.shape, seed=9)).sum().backward()
        gradients += [y.detach(), *(value.grad for value in inputs if value is not None)]
    for ours, plain in zip(given, wanted, strict=True):
        torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("up", [False, True])
def test_gradients_are_right(up):
    x, scale, style, *weights = layer(up, side=4)
    inputs = [value.requires_grad_(True) for value in (x, scale, style) if value is not None]
    assert torch.autograd.gradcheck(
        lambda x, *styles: _SeparableConv.apply(x, *([None, *styles] if not up else styles), *weights), inputs
    )


def test_rows_of_w_act_on_their_layers(generator):
    assert generator.num_ws == len(generator.synthesis.styles) == 3 * 6 - 7
    ws = generator.repeat(generator.mapping(random(1, 6)))
    before = generator.synthesis(ws)
    assert before.shape == (1, 3, 64, 64)
    for row in range(generator.num_ws):
        changed = ws.clone()
        changed[:, row] += 1
        assert (generator.synthesis(changed) - before).abs().max() > 1e-3


def test_real_shapes():
    with torch.device("meta"):
        network = MobileStyleGAN()
    assert network.num_ws == 23
    parameters = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert parameters["synthesis.convs.13.up.weight"] == (128, 512)
    assert parameters["synthesis.convs.13.weight"] == (64, 32)
    assert parameters["synthesis.to_image.weight"] == (12, 64)


def test_smaller_pictures_are_means(generator):
    ws = generator.repeat(generator.mapping(random(2, 6)))
    full = generator.synthesis(ws)
    torch.testing.assert_close(generator.synthesis(ws, size=64), full)
    torch.testing.assert_close(generator.synthesis(ws, size=32), F.avg_pool2d(full, 2))
    torch.testing.assert_close(generator.synthesis(ws, size=16), F.avg_pool2d(full, 4))
    with pytest.raises(ValueError, match="size: got 8, expected 64, 32 or 16"):
        generator.synthesis(ws, size=8)
    with pytest.raises(ValueError, match=r"ws: got \[2, 5, 6\], expected \[N, 11, w_dim\]"):
        generator.synthesis(ws[:, :5])


def test_noise_is_fixed_unless_asked_for(generator):
    ws = generator.repeat(generator.mapping(random(1, 6)))
    assert torch.equal(generator.synthesis(ws), generator.synthesis(ws, noise="fixed"))
    none, other = generator.synthesis(ws, noise="none"), generator.synthesis(ws, noise="random")
    assert (none - generator.synthesis(ws)).abs().max() > 1e-3
    assert (other - generator.synthesis(ws, noise="random")).abs().max() > 1e-3
    for layer in generator.synthesis.convs:
        layer.noise.zero_()
    torch.testing.assert_close(none, generator.synthesis(ws))


def test_truncation_pulls_to_the_mean(generator):
    generator.w_avg.copy_(random(6, seed=3))
    w = generator.mapping(random(2, 6))
    torch.testing.assert_close(generator.truncate(w, 1.0), w)
    torch.testing.assert_close(generator.truncate(w, 0.0), generator.w_avg.expand(2, -1))
    torch.testing.assert_close(
        generator.truncate(generator.repeat(w), 0.7)[:, 3], generator.w_avg + 0.7 * (w - generator.w_avg)
    )


def test_weights_can_be_tuned_and_get_the_gradients_of_the_plain_way(generator):
    ws = generator.repeat(generator.mapping(random(1, 6)))
    frozen = generator.synthesis(ws)
    for parameter in generator.synthesis.parameters():
        parameter.requires_grad_(True)
    made = generator.synthesis(ws)
    torch.testing.assert_close(made.detach(), frozen)
    made.square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in generator.synthesis.parameters())


def test_one_graph_for_a_compiler(generator):
    ws = generator.repeat(generator.mapping(random(1, 6)))
    compiled = torch.compile(generator.synthesis, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(ws), generator.synthesis(ws))
    torch._dynamo.reset()


def test_half_precision_is_near(generator):
    generator = generator.float()
    ws = generator.repeat(generator.mapping(random(2, 6).float())).clone().requires_grad_(True)
    full = generator.synthesis(ws)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = generator.synthesis(ws)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.05 * full.abs().max()
    half.mean().backward()
    assert ws.grad.isfinite().all()
