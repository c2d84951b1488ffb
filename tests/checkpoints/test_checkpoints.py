import contextlib
import random

import pytest
import torch

from hfld.checkpoints import load, load_metadata, load_network, save, save_network, sha256
from hfld.networks.resnet import ResNet

ARGUMENTS = {"depth": 18, "width": 4, "outputs": 3, "stem": "half", "sigmoid": True}


def network(seed=0):
    torch.manual_seed(seed)
    net = ResNet(**ARGUMENTS)
    net(torch.randn(8, 3, 32, 32))  # batch norms with statistics of their own
    return net.eval()


def test_network_comes_back_frozen_and_equal(tmp_path):
    net = network()
    save_network(
        tmp_path / "net.safetensors", net, ARGUMENTS, {"world": "portraits", "score": 0.98}, half=False
    )
    again = load_network(tmp_path / "net.safetensors")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(net(x), again(x))
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    metadata = load_metadata(tmp_path / "net.safetensors")
    assert metadata == {"world": "portraits", "score": 0.98, "network": "ResNet", "arguments": ARGUMENTS}


def test_half_is_half_the_size_and_close(tmp_path):
    net = network()
    save_network(tmp_path / "full.safetensors", net, ARGUMENTS, {}, half=False)
    save_network(tmp_path / "half.safetensors", net, ARGUMENTS, {})
    tensors, _ = load(tmp_path / "half.safetensors")
    assert tensors["layer1.0.conv1.weight"].dtype == torch.half
    assert tensors["bn1.running_var"].dtype == torch.float32  # vectors are small and delicate
    assert (tmp_path / "half.safetensors").stat().st_size < 0.62 * (
        tmp_path / "full.safetensors"
    ).stat().st_size
    again = load_network(tmp_path / "half.safetensors")
    x = torch.randn(2, 3, 32, 32)
    assert all(p.dtype == torch.float32 for p in again.parameters())
    assert 0 < (net(x) - again(x)).abs().max() < 1e-2


def test_values_beyond_half_stay_float32(tmp_path):
    net = network()
    net.fc.weight.data[0, 0] = 1.0e6
    save_network(tmp_path / "net.safetensors", net, ARGUMENTS, {})
    assert load_network(tmp_path / "net.safetensors").fc.weight[0, 0] == 1.0e6


def test_same_network_same_bytes_and_nothing_left_behind(tmp_path):
    for name in ("a", "b"):
        save_network(
            tmp_path / f"{name}.safetensors", network(), ARGUMENTS, {"x": 1, "y": [1, 2], "z": {"k": None}}
        )
    assert sha256(tmp_path / "a.safetensors") == sha256(tmp_path / "b.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save(path, {"a": torch.zeros(2)}, {})
    before = sha256(path)
    with pytest.raises(TypeError):
        save(path, {"a": torch.ones(2)}, {"not": object()})
    assert sha256(path) == before


def test_integer_keys_survive(tmp_path, monkeypatch):
    seen = {}

    class Table(torch.nn.Module):
        def __init__(self, *, channels):
            super().__init__()
            seen.update(channels)

    for module in ("hfld.checkpoints", "hfld.checkpoints.parts"):
        monkeypatch.setattr(f"{module}.network_class", lambda name: Table)
    save_network(tmp_path / "x.safetensors", Table(channels={4: 8}), {"channels": {4: 8, 64: 2}}, {})
    seen.clear()
    load_network(tmp_path / "x.safetensors")
    assert seen == {4: 8, 64: 2}


def test_missing_file_names_the_command(tmp_path):
    for path, command in {
        "data/portraits/generator.safetensors": "make data",
        "data/smoke/generator.safetensors": r"python -m pretrain\.smoke",
        "data/ffhq256/generator.safetensors": "make photographs PROFILES=ffhq256",
        "data/official/ffhq.pkl": "make fetch",
        "weights/portraits/directions_hfld.safetensors": "make repro",
        "weights/portraits/editor_sdflow.safetensors": "make benchmark",
        "pretrain/out/tutor.safetensors": "make pretrain",
    }.items():
        with pytest.raises(FileNotFoundError, match=rf"{path} is missing; `{command}` makes or fetches it"):
            load_network(tmp_path / path)


def test_damaged_file_names_the_command(tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(path, network(), ARGUMENTS, {})
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"not weights at all", b"\xff" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"net\.safetensors is damaged.*make data"):
            load_network(path)


def test_weights_of_another_shape_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(path, network(), {**ARGUMENTS, "width": 8}, {})
    with pytest.raises(ValueError, match="does not fit ResNet"):
        load_network(path)


HEADERS = [
    ([], "its header is a list, expected a dict"),
    ({"network": 3, "arguments": {}}, "network: network: got a int, expected a str"),
    ({"network": "ResNet"}, "network: arguments: got a NoneType, expected a dict"),
    ({"network": "ResNet", "arguments": []}, "network: arguments: got a list, expected a dict"),
    ({"networks": [1]}, "networks: got a list, expected a dict"),
    ({"networks": {"generator": 3}}, "generator: got a int, expected a dict"),
    ({"unread": "generator"}, "unread: got a str, expected a dict"),
]


@pytest.mark.parametrize(("header", "message"), HEADERS)
def test_damaged_headers_are_named(header, message, tmp_path):
    save(tmp_path / "x.safetensors", {"a": torch.ones(2)}, header)
    for read in (load, load_metadata, load_network):
        with pytest.raises(ValueError, match=rf"x\.safetensors is damaged .*{message}"):
            read(tmp_path / "x.safetensors")


GENERATOR = {"size": 64, "z_dim": 4, "w_dim": 4, "channels": dict.fromkeys((4, 8, 16, 32, 64), 4)}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ResNet", {**ARGUMENTS, "widht": 4}, "no ResNet can be built of .*'widht'"),
        ("ResNet", {**ARGUMENTS, "width": "4"}, "no ResNet can be built of"),
        ("ResNet", {**ARGUMENTS, "width": 60_000}, "size mismatch for conv1.weight"),  # 1 TB
        ("ResNet", {**ARGUMENTS, "width": 10**9}, "width: got more than 65536"),
        ("Generator", {**GENERATOR, "mapping_layers": 10_000}, "mapping_layers: got more than 122"),
    ],
)
def test_sizes_in_a_header_are_compared_before_anything_is_allocated(name, arguments, message, tmp_path):
    net = network()
    save(tmp_path / "x.safetensors", net.state_dict(), {"network": name, "arguments": arguments})
    with pytest.raises(ValueError, match=rf"(?s)x\.safetensors does not fit {name}; .*{message}"):
        load_network(tmp_path / "x.safetensors")


def test_building_twice_draws_no_random_numbers_twice(tmp_path):
    save_network(tmp_path / "x.safetensors", network(), ARGUMENTS, {})
    torch.manual_seed(5)
    ResNet(**ARGUMENTS)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_network(tmp_path / "x.safetensors")
    assert torch.equal(torch.rand(1), expected)


def test_every_flipped_bit_of_a_header_is_read_or_named(tmp_path):
    path, rng = tmp_path / "x.safetensors", random.Random(0)
    save_network(path, network(), ARGUMENTS, {"score": 1})
    content = path.read_bytes()
    start = content.index(b'"hfld"')
    for position in range(start, content.index(b"}", content.index(b"ResNet")), 2):
        flipped = bytearray(content)
        flipped[position] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with contextlib.suppress(ValueError):
            load_network(path)


def test_only_registered_networks_are_built(tmp_path):
    save(tmp_path / "x.safetensors", {}, {"network": "Popen", "arguments": {}})
    with pytest.raises(ValueError, match="unknown network 'Popen'"):
        load_network(tmp_path / "x.safetensors")
    save(tmp_path / "y.safetensors", {}, {})
    with pytest.raises(ValueError, match="holds no network"):
        load_network(tmp_path / "y.safetensors")
