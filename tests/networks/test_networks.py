import pytest
import torch
from torch.nn import functional as F

from hfld.networks import NETWORKS, network_class
from hfld.networks.emotion import EmotionNet
from hfld.networks.reader import Reader
from hfld.networks.resnet import ResNet
from hfld.networks.vgg import VGG19Features


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (lambda: ResNet(depth=18, outputs=1000), 11_689_512),
        (lambda: ResNet(depth=34, outputs=1000), 21_797_672),
        (lambda: ResNet(depth=50, outputs=1000), 25_557_032),
        (VGG19Features, 20_024_384),
        (EmotionNet, 1_485_831),
    ],
)
def test_full_width_has_the_published_number_of_parameters(network, parameters):
    assert count(network()) == parameters


def test_keys_and_shapes_are_torchvisions():
    state = ResNet(depth=50, outputs=40).state_dict()
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer1.0.conv3.weight"].shape == (256, 64, 1, 1)
    assert state["layer2.0.downsample.0.weight"].shape == (512, 256, 1, 1)
    assert state["layer4.2.bn3.running_var"].shape == (2048,)
    assert state["fc.weight"].shape == (40, 2048)
    assert len(state) == 320  # torchvision's resnet50
    assert len(ResNet(depth=18, outputs=1).state_dict()) == 122  # torchvision's resnet18
    assert "layer1.0.downsample.0.weight" not in ResNet(depth=18, outputs=1).state_dict()
    vgg = VGG19Features().state_dict()
    assert vgg["features.0.weight"].shape == (64, 3, 3, 3)
    assert vgg["features.34.bias"].shape == (512,)
    convolutions = {int(key.split(".")[1]) for key in vgg}
    assert convolutions == {0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34}
    emotion = EmotionNet().state_dict()
    assert emotion["conv_1.weight"].shape == (64, 1, 5, 5)
    assert emotion["fc_3.weight"].shape == (7, 1024)


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 2), ("half", 4), ("small", 8)])
def test_stem_decides_the_resolution(stem, side):
    net = ResNet(depth=18, width=4, outputs=3, stem=stem).eval()
    seen = []
    net.layer4.register_forward_hook(lambda module, args, out: seen.append(out.shape[-1]))
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    assert seen == [side]


def test_pool_keeps_where_things_are():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 64, 64)
    forgetful = ResNet(depth=18, width=4, outputs=3, stem="half").eval()
    aware = ResNet(depth=18, width=4, outputs=3, stem="half", pool=4).eval()
    assert forgetful.features(x).shape == (1, 32)
    assert aware.features(x).shape == (1, 32 * 16)
    assert torch.allclose(
        aware.features(x).view(1, 32, 16).mean(2), _same_weights(forgetful, aware).features(x)
    )


def _same_weights(target, source):
    state = {key: value for key, value in source.state_dict().items() if not key.startswith("fc.")}
    target.load_state_dict(state, strict=False)
    return target


@pytest.mark.parametrize("size", [16, 64, 128])
def test_reader_keeps_an_8x8_grid(size):
    net = Reader(size=size, outputs=5, width=4, hidden=16).eval()
    assert net.convolutions(torch.zeros(2, 3, size, size)).shape[-2:] == (8, 8)
    assert net(torch.zeros(2, 3, size, size)).shape == (2, 5)


def test_reader_tells_positions_apart():
    torch.manual_seed(0)
    net = Reader(size=32, outputs=1, width=4, hidden=16).eval()
    left, right = torch.zeros(2, 1, 3, 32, 32)
    left[..., 12:20, 4:12] = right[..., 12:20, 20:28] = 1
    assert not torch.allclose(net(left), net(right))
    net.sigmoid = True
    assert 0 < net(left).item() < 1


def test_sigmoid_is_the_declared_one():
    torch.manual_seed(0)
    net = ResNet(depth=18, width=4, outputs=3, sigmoid=True, stem="half").eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(net(x), net.logits(x).sigmoid())
    net.sigmoid = False
    assert torch.equal(net(x), net.logits(x))


def test_residual_block_against_its_equation():
    net = ResNet(depth=18, width=4, outputs=1, stem="small").eval()
    block, x = net.layer2[0], torch.randn(1, 4, 8, 8).relu()
    inner = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    skip = block.downsample[1](F.conv2d(x, block.downsample[0].weight, stride=2))
    assert torch.allclose(block(x), F.relu(inner + skip), atol=1e-6)


def test_vgg_outputs_come_before_the_relu():
    net = VGG19Features(width=4)
    x = torch.randn(1, 3, 32, 32)
    first, second, third, fourth = net(x)
    assert torch.allclose(
        first, F.conv2d(x, net.features[0].weight, net.features[0].bias, padding=1), atol=1e-6
    )
    assert (first < 0).any()
    assert torch.allclose(second, net.features[2](first.relu()), atol=1e-6)
    assert third.shape == (1, 8, 16, 16)
    assert fourth.shape == (1, 8, 16, 16)
    assert [f.shape[1] for f in net(x, layers=16)] == [4] * 2 + [8] * 2 + [16] * 4 + [32] * 8
    with pytest.raises(ValueError, match="layers: 17"):
        net(x, layers=17)


def test_vgg_normalisation():
    torch.manual_seed(0)
    net = VGG19Features(width=4, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    plain = VGG19Features(width=4)
    plain.load_state_dict(net.state_dict())
    x = torch.randn(1, 3, 16, 16)
    normalised = (x - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(
        1, 3, 1, 1
    )
    assert torch.allclose(net(x, layers=3)[2], plain(normalised, layers=3)[2], atol=1e-5)


@pytest.mark.parametrize("side", [64, 224, 256])
def test_emotion_preprocessing_is_deepfaces(side):
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    colour = F.interpolate(
        (x + 1) / 2, size=(224, 224), mode="bilinear", align_corners=False, antialias=False
    )
    gray = 0.299 * colour[:, 0:1] + 0.587 * colour[:, 1:2] + 0.114 * colour[:, 2:3]
    expected = F.interpolate(gray, size=(48, 48), mode="bilinear", align_corners=False, antialias=False)
    assert torch.allclose(EmotionNet(width=4).prepare(x), expected, atol=1e-6)


def test_emotions_are_percentages_and_differentiable():
    net = EmotionNet(width=4).eval()
    x = torch.zeros(3, 3, 64, 64, requires_grad=True)
    y = net(x)
    assert y.shape == (3, 7)
    assert torch.allclose(y.sum(dim=1), torch.full((3,), 100.0), atol=1e-3)
    y[:, 0].sum().backward()
    assert x.grad.abs().sum() > 0


def test_registry():
    assert network_class("ResNet") is ResNet
    assert set(NETWORKS) == {
        *("Generator", "Discriminator", "ResNet", "VGG19Features", "EmotionNet", "Reader"),
        *("DeepFaceIdentity", "MobileStyleGAN", "Graph"),
        *("FaceApiDense", "FaceApiXception", "FaceApiIdentity"),
    }
    with pytest.raises(ValueError, match="unknown network 'ResNets'; the nearest is 'ResNet'"):
        network_class("ResNets")


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="size: 48"):
        Reader(size=48, outputs=1)
    with pytest.raises(ValueError, match=r"expected \[N, 3, 16, 16\]"):
        Reader(size=16, outputs=1)(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="depth: 19"):
        ResNet(depth=19, outputs=1)
    with pytest.raises(ValueError, match="stem"):
        ResNet(outputs=1, stem="large")
    with pytest.raises(ValueError, match=r"shape \(1, 1, 8, 8\)"):
        ResNet(outputs=1, width=4)(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"shape \(1, 1, 8, 9\)"):
        EmotionNet(width=4)(torch.zeros(1, 1, 8, 9))
