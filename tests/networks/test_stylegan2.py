"""StyleGAN2's arithmetic against loops written out in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from hfld.networks.ops import (
    EqualizedConv,
    EqualizedLinear,
    _Binomial,
    _binomial,
    activated,
    blur,
    lrelu,
    minibatch_stddev,
    modulated_conv2d,
    setup_filter,
    upfirdn2d,
    upsample_rgb,
)
from hfld.networks.stylegan2 import CONFIG_F, Discriminator, Generator, StyledConv, channel_table

ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
TINY = dict.fromkeys(CONFIG_F, 4)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny_generator(size: int = 64, **options) -> Generator:
    torch.manual_seed(0)
    return Generator(size=size, z_dim=6, w_dim=8, mapping_layers=2, channels=TINY, **options)


def slow_upfirdn(x, kernel, *, up=1, down=1, pad=(0, 0)):
    """Zero insertion, padding, and a convolution with the flipped filter, pixel by pixel."""
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h * up, w * up)
    spread[:, :, ::up, ::up] = x
    padded = x.new_zeros(n, c, h * up + sum(pad), w * up + sum(pad))
    padded[:, :, pad[0] : pad[0] + h * up, pad[0] : pad[0] + w * up] = spread
    k = kernel.shape[0]
    rows = range(0, padded.shape[2] - k + 1, down)
    columns = range(0, padded.shape[3] - k + 1, down)
    out = x.new_zeros(n, c, len(rows), len(columns))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = padded[:, :, row : row + k, column : column + k]
            out[:, :, i, j] = (window * kernel.flip(0, 1)).sum(dim=(2, 3))
    return out


@pytest.mark.parametrize(
    "options",
    [
        {"pad": (1, 1)},
        {"pad": (2, 1)},
        {"up": 2, "pad": (2, 1)},
        {"up": 2, "pad": (4, 3)},
        {"down": 2, "pad": (1, 1)},
        {"down": 2, "pad": (2, 1)},
    ],
)
def test_upfirdn_is_its_definition(options):
    x, kernel = random(2, 3, 5, 6), setup_filter(gain=4.0).double()
    torch.testing.assert_close(upfirdn2d(x, kernel, **options), slow_upfirdn(x, kernel, **options))


def test_filter_sums_to_its_gain():
    assert float(setup_filter().sum()) == pytest.approx(1)
    assert float(setup_filter(gain=4.0).sum()) == pytest.approx(4)


def test_rgb_upsampling_is_upfirdn():
    x = random(2, 3, 5, 5)
    expected = slow_upfirdn(x, setup_filter(gain=4.0).double(), up=2, pad=(2, 1))
    torch.testing.assert_close(upsample_rgb(x), expected)


def naive_modulated_conv(x, weight, style, *, demodulate, up):
    """Equation 1 and 3 of StyleGAN2: one set of weights per sample."""
    out = []
    for sample, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None]
        if demodulate:
            w = w / torch.sqrt(w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if up:
            y = F.conv_transpose2d(sample[None], w.transpose(0, 1), stride=2)
            y = slow_upfirdn(y, setup_filter(gain=4.0).double(), pad=(1, 1))
        else:
            y = F.conv2d(sample[None], w, padding=weight.shape[-1] // 2)
        out.append(y)
    return torch.cat(out)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution_is_a_loop_over_samples(demodulate, up):
    x, weight, style = random(3, 4, 6, 6), random(5, 4, 3, 3, seed=1), random(3, 4, seed=2)
    y, factor = modulated_conv2d(x, weight, style, demodulate=demodulate, up=up)
    assert (factor is None) != demodulate
    expected = naive_modulated_conv(x, weight, style, demodulate=demodulate, up=up)
    actual = y if factor is None else y * factor.double()
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_equalized_layers_scale_at_run_time():
    torch.manual_seed(0)
    linear = EqualizedLinear(50, 7, bias=1.0, lr_multiplier=0.1).double()
    x = random(4, 50)
    assert float(linear.weight.detach().std()) == pytest.approx(10, rel=0.1)
    expected = x @ (linear.weight * 0.1 / math.sqrt(50)).T + 1.0
    torch.testing.assert_close(linear(x), expected)
    conv = EqualizedConv(3, 4, 3, activate=False).double()
    image = random(1, 3, 5, 5)
    torch.testing.assert_close(conv(image), F.conv2d(image, conv.weight / math.sqrt(27), padding=1))
    rectified = EqualizedLinear(3, 3, activate=True).double()
    torch.nn.init.eye_(rectified.weight)
    torch.testing.assert_close(
        rectified(torch.tensor([[-1.0, 0.0, 1.0]]).double()) * math.sqrt(3),
        torch.tensor([[-0.2, 0.0, 1.0]]).double() * math.sqrt(2),
    )


@pytest.mark.parametrize("kernel", [1, 3])
def test_downsampling_convolution_blurs_first(kernel):
    torch.manual_seed(0)
    conv = EqualizedConv(3, 4, kernel, down=True, activate=False, bias=False).double()
    x, pad = random(2, 3, 8, 8), (2, 2) if kernel == 3 else (1, 1)
    blurred = slow_upfirdn(x, setup_filter().double(), pad=pad)
    torch.testing.assert_close(conv(x), F.conv2d(blurred, conv.weight * conv.scale, stride=2))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
@pytest.mark.parametrize("down", [1, 2])
@pytest.mark.parametrize("pad", [0, 1, 2, 3])
def test_blur_is_the_filter(device, down, pad):
    x = random(2, 3, 7, 8)
    expected = slow_upfirdn(x, setup_filter().double(), pad=(pad, pad))[..., ::down, ::down]
    torch.testing.assert_close(blur(x.to(device), pad=pad, down=down).cpu(), expected)


@pytest.mark.parametrize("pad", [1, 2])
def test_blur_in_bfloat16_is_the_strided_filter(pad):
    """On a CPU it is computed unstrided: the same values and gradients, to the bit."""
    x = random(4, 8, 12, 12).bfloat16().contiguous(memory_format=torch.channels_last)
    found, expected = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = blur(found, pad=pad, down=2)
    strided = upfirdn2d(expected, setup_filter().bfloat16(), down=2, pad=(pad, pad))
    assert torch.equal(y, strided)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    (strided * weights).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_activation_in_pieces_is_the_same_to_the_bit(monkeypatch, dtype):
    monkeypatch.setattr("hfld.networks.ops.PIECE", 3 * 5 * 7 * 2)  # rows of a map come in several pieces
    x = random(3, 5, 11, 7).to(dtype, memory_format=torch.channels_last)
    bias, weights = random(5, seed=1).float(), random(3, 5, 11, 7, seed=2).to(dtype)
    results = []
    for function in (activated, lambda x, b: lrelu(x + b.to(dtype)[:, None, None])):
        given, offset = x.clone().requires_grad_(), bias.clone().requires_grad_()
        y = function(given * 1.0, offset)
        y.backward(weights)
        results.append((y, given.grad, offset.grad))
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)


def test_activation_has_gradients_of_gradients():
    """Which the gradient penalty of D's training needs."""
    x, bias = random(2, 3, 4, 5).requires_grad_(), random(3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, b: activated(x * 1.0, b), (x, bias))
    assert torch.autograd.gradgradcheck(lambda x, b: activated(x * 1.0, b).square(), (x, bias))


@pytest.mark.parametrize("pad", [0, 1, 2, 3])
def test_blur_of_a_gpu(pad):
    """Its way of computing, here on a CPU: values, gradients, gradients of gradients."""
    x = random(1, 2, 5, 6).requires_grad_()
    torch.testing.assert_close(_Binomial.apply(x, pad), blur(x, pad=pad))
    torch.testing.assert_close(_binomial(x, pad), blur(x, pad=pad))
    assert torch.autograd.gradcheck(lambda x: _Binomial.apply(x, pad), x)
    assert torch.autograd.gradgradcheck(lambda x: _Binomial.apply(x, pad).square(), x)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_computes_the_same():
    """Images, logits and their gradients, in float64."""
    torch.manual_seed(0)
    channels = dict.fromkeys((4, 8, 16, 32), 8)
    generator = Generator(size=32, z_dim=8, w_dim=8, channels=channels).double()
    discriminator = Discriminator(size=32, channels=channels).double()
    ws = random(4, generator.num_ws, 8)
    found = []
    for device in ("cpu", "cuda"):
        given = ws.to(device).requires_grad_()
        images = generator.to(device).synthesis(given)
        logits = discriminator.to(device)(images)
        (gradient,) = torch.autograd.grad(logits.sum(), given)
        found.append([value.cpu() for value in (images, logits, gradient)])
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-4, atol=1e-6)  # D's standard deviation is float32


@pytest.mark.parametrize(("count", "group"), [(8, 4), (6, 3), (2, 2), (1, 1), (5, 1)])
def test_minibatch_stddev_by_hand(count, group):
    x = random(count, 3, 4, 4)
    y = minibatch_stddev(x, group=4)
    assert y.shape == (count, 4, 4, 4)
    torch.testing.assert_close(y[:, :3], x)
    step = count // group
    for sample in range(count):
        members = x[[i for i in range(count) if i % step == sample % step]]
        level = torch.sqrt(members.var(dim=0, correction=0) + 1e-8).mean()
        torch.testing.assert_close(y[sample, 3], level.expand(4, 4), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_shapes_and_rows(size):
    generator = tiny_generator(size)
    z = torch.randn(2, 6)
    w = generator.mapping(z)
    ws = generator.repeat(w)
    assert generator.num_ws == 2 * int(math.log2(size)) - 2
    assert w.shape == (2, 8)
    assert ws.shape == (2, generator.num_ws, 8)
    image = generator.synthesis(ws)
    assert image.shape == (2, 3, size, size)
    torch.testing.assert_close(generator(z), image)
    assert Discriminator(size=size, channels=TINY)(image).shape == (2, 1)


def test_each_row_enters_where_it_should():
    """Row i drives convolution i; odd rows also the RGB output of their level."""
    generator = tiny_generator()
    used = {}
    synthesis = generator.synthesis
    for kind in ("convs", "to_rgbs"):
        for i, layer in enumerate(getattr(synthesis, kind)):
            layer.register_forward_hook(lambda _, args, __, key=(kind, i): used.__setitem__(key, args[1]))
    ws = torch.arange(10.0)[None, :, None].expand(1, -1, 8)
    synthesis(ws)
    rows = {key: int(w[0, 0]) for key, w in used.items()}
    assert rows == {**{("convs", i): i for i in range(9)}, **{("to_rgbs", j): 2 * j + 1 for j in range(5)}}


@pytest.mark.parametrize("clamp", [None, 0.7])
@pytest.mark.parametrize("up", [False, True])
def test_styled_convolution_adds_noise_and_bias_then_rectifies_then_bounds(up, clamp):
    torch.manual_seed(0)
    layer = StyledConv(4, 5, w_dim=6, size=16, up=up, clamp=clamp).double()
    layer.noise_strength.data.fill_(0.6)
    layer.bias.data = random(5)
    x, w = random(2, 4, 8 if up else 16, 8 if up else 16, seed=1), random(2, 6, seed=2)
    style = w @ layer.style.weight.T / math.sqrt(6) + layer.style.bias
    y = naive_modulated_conv(x, layer.weight / math.sqrt(36), style, demodulate=True, up=up)
    y = y + 0.6 * layer.noise + layer.bias[:, None, None]
    y = torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)
    torch.testing.assert_close(layer(x, w, "fixed"), y if clamp is None else y.clamp(-clamp, clamp))


def test_bounds_change_no_key_and_spare_the_shortcut():
    options = {"size": 64, "channels": TINY}
    assert (
        Discriminator(**options).state_dict().keys()
        == Discriminator(**options, clamp=1.0).state_dict().keys()
    )
    assert tiny_generator().state_dict().keys() == tiny_generator(clamp=1.0).state_dict().keys()
    block = Discriminator(**options, clamp=0.5).blocks[0]
    x = 100 * torch.randn(2, 4, 64, 64)
    assert block.conv1(x).abs().max() == block.conv2(x).abs().max() == 0.5
    assert block.skip(x).abs().max() > 10


def test_noise_is_fixed_by_default():
    generator = tiny_generator()
    for conv in generator.synthesis.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.5)
    z = torch.randn(2, 6)
    fixed, again = generator(z), generator(z)
    torch.testing.assert_close(fixed, again, rtol=0, atol=0)
    assert not torch.equal(fixed, generator(z, noise="none"))
    other = tiny_generator()
    other.load_state_dict(generator.state_dict())
    torch.testing.assert_close(other(z), fixed, rtol=0, atol=0)


def test_noise_starts_silent():
    generator = tiny_generator()
    z = torch.randn(1, 6)
    torch.testing.assert_close(generator(z), generator(z, noise="none"))


def test_image_is_the_sum_of_upsampled_rgb_outputs():
    generator = tiny_generator()
    outputs = []
    for layer in generator.synthesis.to_rgbs:
        layer.register_forward_hook(lambda _, __, out: outputs.append(out.detach().double()))
    image = generator(torch.randn(2, 6)).double()
    total = outputs[0]
    for out in outputs[1:]:
        total = slow_upfirdn(total, setup_filter(gain=4.0).double(), up=2, pad=(2, 1)) + out
    torch.testing.assert_close(image, total, rtol=1e-4, atol=1e-4)


def test_lower_resolution_is_the_same_network_cut_short():
    generator = tiny_generator()
    z = torch.randn(2, 6)
    image = generator(z, size=16)
    assert image.shape == (2, 3, 16, 16)
    for to_rgb in list(generator.synthesis.to_rgbs)[3:]:
        torch.nn.init.zeros_(to_rgb.weight)
    torch.testing.assert_close(generator(z), upsample_rgb(upsample_rgb(image)))


def test_gradients_reach_every_parameter():
    generator, discriminator = tiny_generator(), Discriminator(size=64, channels=TINY)
    z = torch.randn(4, 6)
    discriminator(generator(z)).sum().backward()
    for network in (generator, discriminator):
        silent = [
            name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
        ]
        assert silent == []


def test_autocast_agrees_with_float32():
    generator = tiny_generator()
    z = torch.randn(2, 6)
    with torch.autocast("cpu", torch.bfloat16):
        half = generator(z)
        assert generator.mapping(z).dtype == torch.float32
        assert Discriminator(size=64, channels=TINY)(half).shape == (2, 1)
    full = generator(z).detach()
    assert float((half.detach().float() - full).abs().mean() / full.abs().mean()) < 0.03


def test_mapping_normalises_only_when_asked():
    z = torch.randn(3, 6)
    assert torch.allclose(tiny_generator().mapping(z), tiny_generator().mapping(3 * z), atol=1e-5)
    plain = tiny_generator(normalize_z=False).mapping
    assert not torch.allclose(plain(z), plain(3 * z))


def test_config_f_widths():
    assert channel_table(1024) == {
        4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32
    }  # fmt: skip
    assert channel_table(256)[256] == 128
    with torch.device("meta"):
        generator, discriminator = Generator(size=1024), Discriminator(size=1024)
    assert generator.num_ws == 18
    # The published counts of config-f at 1024: 30.37 M and 29.01 M.
    assert sum(p.numel() for p in generator.parameters()) == pytest.approx(30.37e6, abs=0.01e6)
    assert sum(p.numel() for p in discriminator.parameters()) == pytest.approx(29.01e6, abs=0.01e6)


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="size: got 100"):
        Generator(size=100)
    with pytest.raises(ValueError, match="no entry for resolution 64"):
        Generator(size=64, channels={4: 8, 8: 8, 16: 8, 32: 8})
