"""Networks written in each official layout and read back draw the same image and give the same logits."""

import json

import numpy as np
import pytest
import torch
from official import base
from official import nvidia as nvidia_files
from official import rosinality as rosinality_files
from official import tensorflow as tensorflow_files
from official.walk import save_walk

from hfld.checkpoints import load, load_network, nvidia, save, sha256, tensorflow
from hfld.checkpoints import rosinality as rosinality_layout
from hfld.checkpoints.parts import fit
from hfld.checkpoints.pickles import Array, Record
from hfld.networks import network_class
from hfld.networks.resnet import ResNet
from hfld.networks.stylegan2 import CONFIG_F
from hfld.networks.vgg import VGG19Features


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(actual, expected):
    """Within 1e-5 of the picture's own range."""
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.fixture(scope="module")
def rosinality(tmp_path_factory):
    path = tmp_path_factory.mktemp("rosinality") / "550000.pt"
    states = {"g": rosinality_files.generator(1), "g_ema": rosinality_files.generator(2)}
    states["d"] = rosinality_files.discriminator(3)
    states["latent_avg"] = torch.arange(float(base.W))
    rosinality_files.save(path, **states)
    return path, states


@pytest.mark.parametrize(("part", "name"), [("generator", "g_ema"), ("generator_raw", "g")])
def test_rosinality_draws_the_same_image(rosinality, part, name):
    path, states = rosinality
    network = load_network(path, part=part)
    z = draws(3, base.W)
    w = rosinality_files.mapped(states[name], z)
    assert_same(network.mapping(z.float()), w)
    ws = w[:, None] + 0.5 * draws(3, len(base.NOISES) + 1, base.W, seed=1)  # W+: every row its own
    assert_same(network.synthesis(ws.float()), rosinality_files.image(states[name], ws))
    assert torch.equal(network.w_avg, torch.arange(float(base.W)))
    assert not network.training


def test_rosinality_judges_the_same(rosinality):
    path, states = rosinality
    images = draws(8, 3, base.SIZE, base.SIZE)
    network = load_network(path, part="discriminator")
    assert_same(network(images.float()), rosinality_files.logits(states["d"], images))


def test_rosinality_metadata(rosinality):
    path, _ = rosinality
    checkpoint = load(path)
    assert checkpoint.metadata["format"] == "rosinality"
    assert checkpoint.metadata["sha256"] == sha256(path)
    json.dumps(checkpoint.metadata)
    assert checkpoint.metadata["networks"]["generator"] == {
        "network": "Generator",
        "arguments": {"size": 64, "z_dim": 8, "w_dim": 8, "mapping_layers": 3, "channels": base.WIDTHS},
    }
    assert set(checkpoint.parts) == {"generator", "generator_raw", "discriminator"}
    with pytest.raises(ValueError, match=r"part: None, expected one of \['discriminator', 'generator', 'gen"):
        load_network(path)
    with pytest.raises(ValueError, match="part: 'g_ema', expected one of"):
        load_network(path, part="g_ema")


def test_a_file_of_our_own_is_the_same_networks(rosinality, tmp_path):
    path, _ = rosinality
    save(tmp_path / "own.safetensors", *load(path))
    checkpoint = load(tmp_path / "own.safetensors")
    assert checkpoint.metadata == json.loads(json.dumps(load(path).metadata))
    ws = draws(2, len(base.NOISES) + 1, base.W).float()
    ours, theirs = (
        load_network(file, part="generator").synthesis(ws) for file in (tmp_path / "own.safetensors", path)
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("zipped", [True, False])
def test_older_rosinality_files_lack_noise_and_mean(zipped, tmp_path):
    state = {k: v for k, v in rosinality_files.generator().items() if not k.startswith("noises.")}
    path = tmp_path / "old.pt"
    # the keys as a module that was trained on several GPUs may have them
    rosinality_files.save(path, zipped=zipped, g_ema={f"module.{k}": v for k, v in state.items()})
    checkpoint = load(path)
    assert "drawn with seed 0" in checkpoint.metadata["networks"]["generator"]["noise"]
    network, again = load_network(path, part="generator"), load_network(path)
    assert torch.equal(network.synthesis.convs[3].noise, again.synthesis.convs[3].noise)
    assert [conv.noise.shape[-1] for conv in network.synthesis.convs] == base.NOISES
    assert 0.9 < network.synthesis.convs[-1].noise.std() < 1.1
    z = draws(4000, base.W, seed=5)
    mean = rosinality_files.mapped(state, z).mean(dim=0)
    assert (network.w_avg - mean).norm() < 0.1 * mean.norm()


@pytest.mark.parametrize("clamp", [None, 0.8])
def test_nvidia_draws_and_judges_the_same(clamp, tmp_path):
    path = tmp_path / "ffhq.pkl"
    flats = nvidia_files.save(path, clamp=clamp, lr=0.02)
    z = draws(3, base.Z)
    for part, name in (("generator", "G_ema"), ("generator_raw", "G")):
        network = load_network(path, part=part)
        ws = nvidia_files.mapped(flats[name], z, lr=0.02)
        assert_same(network.repeat(network.mapping(z.float())), ws)
        ws = ws + 0.5 * draws(*ws.shape, seed=1)
        assert_same(network.synthesis(ws.float()), nvidia_files.image(flats[name], ws, clamp))
        assert torch.equal(network.w_avg, flats[name]["mapping.w_avg"])
    if clamp:  # and it mattered
        free = nvidia_files.image(flats["G"], ws)
        assert (free - nvidia_files.image(flats["G"], ws, clamp)).abs().max() > 0.1
    images = draws(8, 3, base.SIZE, base.SIZE)
    network = load_network(path, part="discriminator")
    assert_same(network(images.float()), nvidia_files.logits(flats["D"], images, clamp))


def test_nvidia_group_size_is_read(tmp_path):
    nvidia_files.save(tmp_path / "x.pkl", group=2)
    assert load_network(tmp_path / "x.pkl", part="discriminator").group == 2
    assert load(tmp_path / "x.pkl").metadata["format"] == "nvidia"


def test_nvidia_without_a_group_size_means_the_whole_batch(tmp_path):
    flats = nvidia_files.save(tmp_path / "x.pkl", group=None)
    images = draws(12, 3, base.SIZE, base.SIZE)
    network = load_network(tmp_path / "x.pkl", part="discriminator")
    assert_same(network(images.float()), nvidia_files.logits(flats["D"], images, group=12))
    assert network.group == nvidia.WHOLE


def without_styles(*names):
    """G as StyleGAN3 has it: no blocks, an input layer."""

    def change(data):
        for name in names:
            modules = child(data[name], "synthesis").state["_modules"]
            modules.pop("b4")
            modules["input"] = nvidia_files.Persistent("SynthesisInput", "")

    return change


def test_a_generator_of_another_design_does_not_hide_the_discriminator(tmp_path):
    path = tmp_path / "stylegan3-r.pkl"
    flats = nvidia_files.save(path, change=without_styles("G", "G_ema"))
    images = draws(8, 3, base.SIZE, base.SIZE)
    network = load_network(path, part="discriminator")
    assert_same(network(images.float()), nvidia_files.logits(flats["D"], images))
    checkpoint = load(path)
    assert set(checkpoint.parts) == {"discriminator"}
    assert set(checkpoint.unread) == {"generator", "generator_raw"}
    for file in (path, tmp_path / "own.safetensors"):
        with pytest.raises(ValueError, match="generator: a generator with SynthesisInput, not StyleGAN2's"):
            load_network(file if file.exists() else save(file, *checkpoint) or file, part="generator")
    with pytest.raises(ValueError, match="part: None"):  # a part that is left out is not replaced in silence
        load_network(path)


def test_a_file_of_nothing_but_another_design_is_refused(tmp_path):
    def change(data):
        without_styles("G", "G_ema")(data)
        data["D"] = None

    nvidia_files.save(tmp_path / "x.pkl", change=change)
    with pytest.raises(ValueError, match=r"x\.pkl: a generator with SynthesisInput"):
        load(tmp_path / "x.pkl")


def child(module, path):
    for name in path.split("."):
        module = module.state["_modules"][name]
    return module


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["G"].state.update(c_dim=10), "c_dim is 10; only 0"),
        (lambda d: child(d["G"], "synthesis.b8").state.update(architecture="orig"), "architecture is 'orig'"),
        (lambda d: child(d["G"], "mapping.fc1").state.update(activation="relu"), "activation is 'relu'"),
        (lambda d: child(d["G"], "synthesis.b8.conv1").state.update(conv_clamp=256), "conv_clamp differs"),
        (lambda d: child(d["G"], "mapping.fc1").state.update(bias_gain=1.0), "2 learning rate multipliers"),
        (lambda d: child(d["D"], "b4.mbstd").state.update(num_channels=2), "num_channels is 2; only 1"),
        (
            lambda d: child(d["D"], "b8.skip").state["_buffers"].update(resample_filter=torch.ones(4, 4)),
            "b8.skip.resample_filter: a filter other than 1 3 3 1",
        ),
        (
            lambda d: child(d["G"], "synthesis.b8.conv1").state["_parameters"].pop("bias"),
            "damaged, KeyError 'synthesis.convs.2.bias'",
        ),
        (
            lambda d: child(d["D"], "b8.conv1").state["_parameters"].pop("weight"),
            r"discriminator: blocks.3.conv2.weight is missing \(1 tensors",
        ),
        (
            lambda d: child(d["D"], "b8").state["_parameters"].update(odd=torch.ones(2)),
            "b8.odd is not known in this format",
        ),
        (lambda d: d["D"].state.update(img_resolution=1 << 100_000), "Exceeds the limit"),
        (lambda d: d["D"].state.update(img_resolution=2048), "size: got 2048"),
    ],
)  # fmt: skip
def test_other_designs_are_named(change, message, tmp_path):
    nvidia_files.save(tmp_path / "x.pkl", change=change)
    with pytest.raises(ValueError, match=rf"x\.pkl: .*{message}"):
        load(tmp_path / "x.pkl")


def test_tensorflow_draws_and_judges_the_same(tmp_path):
    path = tmp_path / "stylegan2-ffhq-config-f.pkl"
    flats = tensorflow_files.save(path, mapping_lrmul=0.02)
    z = draws(3, base.Z)
    for part, flat in (("generator_raw", flats[0]), ("generator", flats[2])):
        network = load_network(path, part=part)
        w = tensorflow_files.mapped(flat, z, lrmul=0.02)
        assert_same(network.mapping(z.float()), w)
        ws = w[:, None] + 0.5 * draws(3, len(base.NOISES) + 1, base.W, seed=1)
        assert_same(network.synthesis(ws.float()), tensorflow_files.image(flat, ws))
        assert torch.equal(network.w_avg, flat["dlatent_avg"])
    images = draws(8, 3, base.SIZE, base.SIZE)
    network = load_network(path, part="discriminator")
    assert_same(network(images.float()), tensorflow_files.logits(flats[1], images))
    assert load(path).metadata["format"] == "tensorflow"


def test_tensorflow_generator_alone(tmp_path):
    flats = tensorflow_files.save(tmp_path / "Gs.pkl", only=2)
    network = load_network(tmp_path / "Gs.pkl")
    assert torch.equal(network.synthesis.to_rgbs[0].bias, flats[2]["synthesis/4x4/ToRGB/bias"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"architecture": "orig"}, "architecture is 'orig'; only skip"),
        ({"label_size": 10}, "label_size is 10; only 0"),
        ({"resample_kernel": [1, 2, 1]}, r"resample_kernel is a list; only \[1, 3, 3, 1\]"),
        ({"nonlinearity": "relu"}, "nonlinearity is 'relu'"),
    ],
)
def test_other_tensorflow_designs_are_named(kwargs, message, tmp_path):
    tensorflow_files.save(tmp_path / "x.pkl", **kwargs)
    with pytest.raises(ValueError, match=rf"x\.pkl: {message}"):
        load(tmp_path / "x.pkl")


def as_record(module):
    """What the reader of pickles makes of the stand-ins."""
    if isinstance(module, tensorflow_files.Network):
        state = {
            **module.state,
            "variables": [(k, Array(np.asarray(v))) for k, v in module.state["variables"]],
        }
        return Record("Network", {**state, "components": _records(state["components"])})
    return Record(module.kind, {**module.state, "_modules": _records(module.state["_modules"])})


def _records(modules):
    return {name: as_record(module) for name, module in modules.items()}


@pytest.mark.parametrize("layout", [rosinality_layout, nvidia, tensorflow], ids=lambda m: m.__name__)
def test_config_f_at_1024_is_complete(layout, monkeypatch):
    """Zeros of the published shapes under the official names fill G and D at 1024, nothing left over."""
    sizes = {"SIZE": 1024, "WIDTHS": CONFIG_F, "SIDES": list(CONFIG_F), "Z": 512, "W": 512, "LAYERS": 8}
    noises = [4] + [side for side in list(CONFIG_F)[1:] for _ in range(2)]
    zeros = {"numbers": lambda *shape, **_: torch.zeros(()).expand(shape)}
    for name, value in {**sizes, "NOISES": noises, **zeros}.items():
        monkeypatch.setattr(base, name, value)
    if layout is rosinality_layout:
        value = {"g_ema": rosinality_files.generator(), "d": rosinality_files.discriminator()}
        value["latent_avg"] = torch.zeros(512)
    else:
        value = nvidia_files.build() if layout is nvidia else tensorflow_files.build()
        value = _records(value) if layout is nvidia else tuple(as_record(network) for network in value)
    value = layout.read(value)
    for name, expected in (("generator", 30.37e6), ("discriminator", 29.01e6)):
        part = fit(name, value[name])
        assert part.arguments["size"] == 1024
        assert part.arguments["channels"] == CONFIG_F
        with torch.device("meta"):
            network = network_class(part.network)(**part.arguments)
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(expected, abs=0.01e6)


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "optm": {"lr": 1e-4}}])
def test_resnets(depth, wrap, tmp_path):
    torch.manual_seed(0)
    net = ResNet(depth=depth, width=4, outputs=40).eval()
    torch.save(wrap(net.state_dict()), tmp_path / "R.pt")
    x = draws(2, 3, 64, 64).float()
    assert torch.equal(load_network(tmp_path / "R.pt")(x), net(x))
    probabilities = load_network(tmp_path / "R.pt", arguments={"sigmoid": True})
    assert torch.equal(probabilities(x), net(x).sigmoid())
    assert load(tmp_path / "R.pt").metadata["networks"]["network"]["arguments"] == {
        "depth": depth, "width": 4, "outputs": 40, "sigmoid": False
    }  # fmt: skip


def test_a_resnet_of_another_design_is_named(tmp_path):
    state = ResNet(depth=18, width=4, outputs=3).state_dict()
    extra = {key.replace("layer1.1", "layer1.2"): value for key, value in state.items() if "layer1.1" in key}
    torch.save({**state, **extra}, tmp_path / "R.pt")
    with pytest.raises(ValueError, match=r"a ResNet with \(3, 2, 2, 2\) blocks"):
        load(tmp_path / "R.pt")
    torch.save(ResNet(depth=18, width=4, outputs=3, stem="small").state_dict(), tmp_path / "S.pt")
    with pytest.raises(ValueError, match="conv1 of size 3"):
        load(tmp_path / "S.pt")


def test_resnets_from_before_batches_were_counted(tmp_path):
    torch.manual_seed(0)
    net = ResNet(depth=18, width=4, outputs=10).eval()
    counted = net.state_dict()
    state = {key: value for key, value in counted.items() if "num_batches_tracked" not in key}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    x = draws(2, 3, 64, 64).float()
    network = load_network(tmp_path / "old.pth")
    assert torch.equal(network(x), net(x))
    assert network.bn1.num_batches_tracked == 0
    counted["bn1.num_batches_tracked"] += 7
    torch.save(counted, tmp_path / "new.pth")
    assert load_network(tmp_path / "new.pth").bn1.num_batches_tracked == 7


def test_vgg19_is_the_baselines(tmp_path):
    torch.manual_seed(0)
    net = VGG19Features(width=4, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    classifier = {"classifier.6.weight": torch.zeros(10, 4), "classifier.6.bias": torch.zeros(10)}
    torch.save({**net.state_dict(), **classifier}, tmp_path / "vgg19.pth")
    x = draws(1, 3, 32, 32).float()
    read = load_network(tmp_path / "vgg19.pth")(x, layers=16)
    assert all(torch.equal(a, b) for a, b in zip(read, net(x, layers=16), strict=True))
    other = load_network(tmp_path / "vgg19.pth", arguments={"mean": (0, 0, 0), "std": (1, 1, 1)})
    assert not torch.equal(other(x)[0], read[0])


@pytest.mark.parametrize("zipped", [True, False])
def test_the_references_directions(zipped, tmp_path):
    w = draws(5, 14, 512).float()
    save_walk(tmp_path / "w_walk_module.ckpt", w, zipped=zipped)
    tensors, metadata = load(tmp_path / "w_walk_module.ckpt")
    assert torch.equal(tensors["T"], w)
    assert metadata["format"] == "latent2im"
    with pytest.raises(ValueError, match="holds no network"):
        load_network(tmp_path / "w_walk_module.ckpt")
    save_walk(tmp_path / "nan.ckpt", w * torch.nan, zipped=zipped)
    with pytest.raises(ValueError, match="no numbers"):
        load(tmp_path / "nan.ckpt")


def test_interfacegan_boundaries(tmp_path):
    vector = draws(1, 512).numpy()
    np.save(tmp_path / "boundary.npy", vector)
    tensors, metadata = load(tmp_path / "boundary.npy")
    np.testing.assert_allclose(tensors["boundary"].numpy(), vector, rtol=1e-6)
    assert tensors["boundary"].dtype == torch.float32
    assert metadata["format"] == "interfacegan"
    np.save(tmp_path / "images.npy", np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"float64 \(3, 4\), expected a boundary \[1, w_dim\]"):
        load(tmp_path / "images.npy")
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load(tmp_path / "objects.npy")


def test_content_decides_not_the_name(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 4)))
    (tmp_path / "x.npy").rename(tmp_path / "x.pkl")
    assert load(tmp_path / "x.pkl").metadata["format"] == "interfacegan"
    save(tmp_path / "y.pt", {"a": torch.ones(2)}, {"x": 1})
    assert load(tmp_path / "y.pt") == ({"a": pytest.approx(torch.ones(2))}, {"x": 1})


def test_unknown_content_is_named(tmp_path):
    for value, kind in (({"state": {"a": torch.ones(2)}}, "dict"), ([1, 2], "list")):
        torch.save(value, tmp_path / "x.pt")
        with pytest.raises(ValueError, match=rf"x\.pt: holds a {kind} without the keys of a network"):
            load(tmp_path / "x.pt")
