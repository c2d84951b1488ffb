"""Small files that ask for much: each is refused before it is made, whatever way it asks."""

import collections
import io
import pickle
import struct
import sys

import numpy as np
import pytest
import torch
from official import nvidia, rosinality, tensorflow

from hfld.checkpoints import budget, load, torchfiles
from hfld.checkpoints.pickles import Reader


@pytest.fixture
def small(monkeypatch):
    """A megabyte beside six times the file: what a broken budget makes stays bearable."""
    monkeypatch.setattr(budget, "CONSTANT", 1 << 20)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def name(value):
    module, last = value.rsplit(".", 1)
    return f"c{module}\n{last}\n".encode()


def again(callee, argument, times=500):
    """`callee(*argument)`, an opcode for each but never the argument itself, in a list."""
    head = b"\x80\x02" + name(callee) + b"q\x00" + argument + b"q\x01]("
    return head + b"h\x00h\x01R" * times + b"e."


def storage(count):
    stream = io.BytesIO()
    torch.save(torch.zeros(count)._typed_storage(), stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def nested(count):
    data = storage(count)
    return b"B" + struct.pack("<I", len(data)) + data


PAIRS = b"(" + b"".join(b"M" + struct.pack("<H", i) + b"N\x86" for i in range(400)) + b"t"
NUMBERS = b"(" + b"K\x01" * 400 + b"t"
REPEATED = {
    "encoded text": again("_codecs.encode", text(b"a" * 20_000) + text(b"latin1") + b"\x86"),
    "nested storages": again("torch.storage._load_from_bytes", nested(4000) + b"\x85"),
    "dicts": again("collections.OrderedDict", PAIRS + b"\x85"),
    "sets": again("builtins.set", NUMBERS + b"\x85"),
    "sizes": again("torch.Size", b"](" + b"K\x01" * 400 + b"e\x85"),
    "arguments": again("collections.defaultdict", NUMBERS),
    "states": b"\x80\x02" + name("argparse.Namespace") + b"q\x00}q\x01(" + b"".join(
        text(b"%d" % i) + b"N" for i in range(400)
    ) + b"u](" + b"h\x00)\x81h\x01b" * 500 + b"e.",
    "empty sets": b"\x80\x04](" + b"\x8f" * 30_000 + b"e.",
}  # fmt: skip


@pytest.mark.parametrize("payload", REPEATED.values(), ids=REPEATED)
def test_what_is_made_again_and_again_is_paid(payload, small, tmp_path):
    (tmp_path / "x.pkl").write_bytes(payload)
    with pytest.raises(
        ValueError, match=r"x\.pkl is damaged .*it makes more than \d+ bytes, expected at most 6"
    ):
        load(tmp_path / "x.pkl")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("zipped", [True, False])
def test_one_storage_under_many_names_is_paid_for_each(dtype, zipped, small, tmp_path):
    turned = torch.zeros(8, 10_000, dtype=dtype).T
    state = {"input.input": turned, **{f"style.{i}.weight": turned for i in range(900)}}
    torch.save({"g_ema": state}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"x\.pt: it makes more than"):
        load(tmp_path / "x.pt")


def test_numpy_arrays_under_many_names_are_paid_for_each(small, tmp_path):
    value = np.zeros(20_000, np.float32)
    array = Reader(budget=budget.Budget(80_000)).read(io.BytesIO(pickle.dumps([value] * 100)))
    assert array[0] is array[99]
    with pytest.raises(ValueError, match="it makes more than"):
        torchfiles.tensors(dict(enumerate(array)))


def test_a_network_has_so_many_tensors_only(tmp_path):
    value = torch.zeros(2)
    torch.save({"g_ema": {"input.input": value, **{f"k{i}": value for i in range(1000)}}}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: 1001 tensors, expected at most 1000 in a network"):
        load(tmp_path / "x.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_honest_files_of_every_kind_fit(dtype, monkeypatch, tmp_path):
    """Without the constant: storages within a plain pickle in half precision are the dearest."""
    monkeypatch.setattr(budget, "CONSTANT", 0)
    value = {"a": torch.zeros(200_000, dtype=dtype), "b": torch.ones(300_000, dtype=dtype)}
    for zipped in (True, False):
        torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        assert torchfiles.tensors(torchfiles.read((tmp_path / "x.pt").read_bytes()))["b"].sum() == 300_000
    for protocol in (2, 4):
        arrays = {key: tensor.numpy() for key, tensor in value.items()}
        for content in (value, arrays):
            data = pickle.dumps(content, protocol=protocol)
            assert torchfiles.tensors(torchfiles.read(data))["b"].sum() == 300_000


DEVICE = b"\x80\x02ctorch\ndevice\n)" + b"2\x86" * 60 + b"\x85R."
DTYPE = b"\x80\x02cnumpy\ndtype\n)" + b"2\x86" * 60 + b"\x85R."
RECORD = (
    b"\x80\x02cnumpy\ndtype\ncargparse\nNamespace\n)\x81}" + text(b"x") + b")" + b"2\x86" * 60 + b"sb\x85R."
)


@pytest.mark.parametrize(
    ("payload", "message"),
    [(DEVICE, "without the keys of a network"), (DTYPE, "a tuple where str"), (RECORD, "a Record where str")],
)
def test_nests_as_arguments_are_neither_printed_nor_walked(payload, message, tmp_path):
    (tmp_path / "x.pkl").write_bytes(payload)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "x.pkl")


NEST = b")" + b"2\x86" * 60


@pytest.mark.parametrize(
    "place",
    [
        b"K\x00" + NEST + b"q\x01(h\x01h\x01t(K\x01K\x01t",  # in the size
        b"K\x00(K\x01K\x01t" + NEST + b"q\x01(h\x01h\x01t",
        NEST + b"(K\x01K\x01t(K\x01K\x01t",
        b"K\x00(" + b"K\x01" * 17 + b"t(" + b"K\x01" * 17 + b"t",
        b"K\x00(\x8a\x08" + b"\xff" * 7 + b"\x7ft(K\x01t",
    ],
)
def test_shapes_are_integers(place, tmp_path):
    payload = (
        b"\x80\x02" + name("torch._utils._rebuild_tensor") + b"(" + name("torch.storage._load_from_bytes")
    )
    (tmp_path / "x.pkl").write_bytes(payload + nested(4) + b"\x85R" + place + b"tR.")
    with pytest.raises(ValueError, match=r"x\.pkl is damaged .*no shape"):
        load(tmp_path / "x.pkl")


def long1(value):
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_that_share_their_hash_are_no_keys(sign, tmp_path):
    modulus = sys.hash_info.modulus
    assert hash(7 * modulus) == hash(modulus)
    key = long1(sign * modulus)
    payloads = (
        b"\x80\x02}(" + key + b"Nu.",
        b"\x80\x04\x8f(" + key + b"\x90.",
        b"\x80\x04(" + key + b"\x91.",
    )
    for payload in (*payloads, b"Np%d\n." % (sign * modulus)):
        (tmp_path / "x.pkl").write_bytes(payload)
        with pytest.raises(ValueError, match="an integer of 61 bits as a key, expected at most 60"):
            load(tmp_path / "x.pkl")
    assert Reader().read(io.BytesIO(pickle.dumps({2**60 - 1: 2**70}))) == {2**60 - 1: 2**70}


def deep(length, depth):
    """Modules in modules under one long name."""

    def change(data):
        module = nvidia.Persistent("Module", "")
        for _ in range(depth):
            outer = nvidia.Persistent("Module", "")
            outer.state["_modules"] = {"k" * length: module}
            module = outer
        data["G"].state["_modules"]["x"] = module

    return change


def wide(kind):
    def change(data):
        data["G"].state["_modules"]["x"] = nvidia.Persistent(
            "Module", "", **{kind: dict.fromkeys(range(1001))}
        )

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (deep(201, 1), "a name of 201 characters, expected at most 200"),
        (deep(50, 10), "a name of 205 characters, expected at most 200"),
        (wide("_modules"), "1001 modules of one module, expected at most 1000"),
        (wide("_buffers"), "1001 buffers of one module, expected at most 1000"),
    ],
)
def test_names_and_modules_have_an_end(change, message, tmp_path):
    nvidia.save(tmp_path / "x.pkl", change=change)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "x.pkl")


def test_tensorflow_networks_have_two_components_only(tmp_path, monkeypatch):
    build = tensorflow.build

    def crafted(*arguments, **options):
        networks = build(*arguments, **options)
        networks[0].state["components"]["other"] = networks[1]
        return networks

    monkeypatch.setattr(tensorflow, "build", crafted)
    tensorflow.save(tmp_path / "x.pkl")
    with pytest.raises(ValueError, match="3 components, expected mapping and synthesis or none"):
        load(tmp_path / "x.pkl")


def test_the_mean_w_is_not_drawn_for_any_width(tmp_path):
    state = collections.OrderedDict(rosinality.generator())
    state["style.1.weight"] = torch.zeros(1, 10_000)
    rosinality.save(tmp_path / "x.pt", g_ema=state)
    with pytest.raises(ValueError, match=r"style.1.weight has shape \(1, 10000\), expected a square"):
        load(tmp_path / "x.pt")


def test_noise_is_not_drawn_for_any_size(tmp_path):
    state = {key: value for key, value in rosinality.generator().items() if not key.startswith("noises.")}
    for i in range(4, 14):  # 64 px become 65536, whose noise has 16 GB
        for key in [key for key in state if key.startswith("to_rgbs.3.")]:
            state[key.replace("to_rgbs.3.", f"to_rgbs.{i}.")] = state[key]
        for key in [key for key in state if key.startswith(("convs.6.", "convs.7."))]:
            state[key.replace(key[:7], f"convs.{int(key[6]) + 2 * (i - 3)}")] = state[key]
    rosinality.save(tmp_path / "x.pt", g_ema=state)
    with pytest.raises(ValueError, match="size: got 65536, expected a power of two from 8 to 1024"):
        load(tmp_path / "x.pt")
