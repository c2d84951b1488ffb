"""MobileStyleGAN: files as random-face's, of random weights, against a slow reading of the same numbers."""

import numpy as np
import pytest
import torch
from official.openvino import IR, RandomFace

from hfld.checkpoints import ir, load_network, random_face, save_network
from hfld.checkpoints.parts import fit
from hfld.networks.mobile_stylegan import MobileStyleGAN


def graphs(folder):
    return [
        ir.parse((folder / f"{name}.xml").read_bytes(), (folder / f"{name}.bin").read_bytes())
        for name in ("MappingNetwork", "SynthesisNetwork")
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random_face")
    made = RandomFace()
    made.write(folder)
    return made, folder


@pytest.fixture(scope="module")
def generator(written):
    part = fit("generator", random_face.read(*graphs(written[1])))
    assert part.arguments["channels"] == {4: 8, 8: 8, 16: 4}
    network = MobileStyleGAN(**part.arguments)
    network.load_state_dict(part.state)
    return network.double().requires_grad_(False)


def test_pictures_are_those_of_the_files(written, generator):
    made, _ = written
    rng = np.random.default_rng(1)
    z = rng.normal(size=(2, 6))
    w = generator.mapping(torch.from_numpy(z))
    np.testing.assert_allclose(w, made.w(z), rtol=1e-6)
    ws = rng.normal(size=(2, generator.num_ws, 6))
    picture = generator.synthesis(torch.from_numpy(ws))
    assert generator.num_ws == 8
    np.testing.assert_allclose(picture, made.picture(ws), rtol=1e-6, atol=1e-6 * picture.abs().max())


def test_the_centre_is_the_mean_w(written, generator):
    z = np.random.default_rng(2).normal(size=(20_000, 6))
    spread = generator.mapping(torch.from_numpy(z)).std(dim=0).numpy()
    np.testing.assert_array_less(abs(generator.w_avg.numpy() - written[0].w(z).mean(axis=0)) / spread, 0.05)


def test_it_becomes_a_file_of_our_own(written, generator, tmp_path):
    part = random_face.read(*graphs(written[1]))
    network = MobileStyleGAN(**part.arguments)
    network.load_state_dict(fit("generator", part).state)
    save_network(tmp_path / "generator.safetensors", network, part.arguments, part.notes, half=False)
    ws = torch.randn(1, 8, 6, generator=torch.Generator().manual_seed(0))
    again = load_network(tmp_path / "generator.safetensors")
    torch.testing.assert_close(
        again.synthesis(ws), generator.synthesis(ws.double()).float(), atol=1e-3, rtol=1e-4
    )


def test_other_graphs_are_refused(written):
    mapping, synthesis = graphs(written[1])
    for pair in ((synthesis, mapping), (mapping, mapping)):
        with pytest.raises(ValueError, match="another graph than MobileStyleGAN's"):
            random_face.read(*pair)
    net = IR()
    net.result(net.parameter(1, 4))
    with pytest.raises(ValueError, match="another graph than MobileStyleGAN's"):
        random_face.read(mapping, ir.parse(net.xml(), bytes(net.data)))


def test_the_mapping_network_is_also_a_graph(written):
    made, folder = written
    z = np.random.default_rng(3).normal(size=(3, 6))
    (w,) = load_network(folder / "MappingNetwork.xml")(torch.from_numpy(z).float())
    np.testing.assert_allclose(w, made.w(z), atol=1e-4)


def test_openvino_makes_the_same_pictures(written, generator):
    openvino = pytest.importorskip("openvino")
    _, folder = written
    core, exact = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    w = np.random.default_rng(4).normal(size=(1, 6)).astype(np.float32)
    run = core.compile_model(core.read_model(folder / "SynthesisNetwork.xml"), "CPU", exact)
    expected = generator.synthesis(generator.repeat(torch.from_numpy(w).double()))
    np.testing.assert_allclose(run(w)[0], expected, rtol=1e-4, atol=1e-5 * expected.abs().max())
