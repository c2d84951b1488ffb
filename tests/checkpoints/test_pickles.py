"""Hostile, truncated and flipped pickles: refused by name, without effect, always with a clear error."""

import collections
import copyreg
import io
import pickle
import pickletools
import random
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from official import nvidia, tensorflow
from official.walk import save_walk

from hfld.checkpoints import Refused, load, torchfiles
from hfld.checkpoints.pickles import Reader


def act(path, *_, **__):
    """What hostile files try to call."""
    Path(path).mkdir(exist_ok=True)
    return {}


class Trap:
    """A class all of whose hooks act."""

    def __new__(cls, path=None, **options):
        if path or options:
            act(path or options["path"])
        return super().__new__(cls)

    def __setstate__(self, path):
        act(path)


class Reduced:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return act, (self.path,)


HERE = __name__.encode()
BY_OPCODE = {
    "GLOBAL": b"c%(here)s\nact\n(V%(path)s\ntR.",
    "REDUCE": b"\x80\x02c%(here)s\nact\nX%(size)s%(path)s\x85R.",
    "STACK_GLOBAL": b"\x80\x04\x8c%(short)s%(here)s\x8c\x03act\x93X%(size)s%(path)s\x85R.",
    "INST": b"(V%(path)s\ni%(here)s\nact\n.",
    "OBJ": b"(c%(here)s\nact\nV%(path)s\no.",
    "NEWOBJ": b"\x80\x02c%(here)s\nTrap\nX%(size)s%(path)s\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04c%(here)s\nTrap\n)}X\x04\0\0\0pathX%(size)s%(path)ss\x92.",
    "BUILD": b"\x80\x02c%(here)s\nTrap\n)\x81X%(size)s%(path)sb.",
    "EXT1": b"\x80\x02\x82\xf1X%(size)s%(path)s\x85R.",
    "EXT2": b"\x80\x02\x83\xf1\xf1X%(size)s%(path)s\x85R.",
    "EXT4": b"\x80\x02\x84\xf1\xf1\xf1\x71X%(size)s%(path)s\x85R.",
}
CODES = (0xF1, 0xF1F1, 0x71F1F1F1)


def by_opcode(name: str, target: Path) -> bytes:
    path = str(target).encode()
    values = {
        b"here": HERE,
        b"path": path,
        b"size": len(path).to_bytes(4, "little"),
        b"short": bytes([len(HERE)]),
    }
    return BY_OPCODE[name] % values


@pytest.fixture
def extensions():
    for i, code in enumerate(CODES):
        setattr(sys.modules[__name__], f"act{i}", act)
        copyreg.add_extension(__name__, f"act{i}", code)
    yield
    for i, code in enumerate(CODES):
        copyreg.remove_extension(__name__, f"act{i}", code)


@pytest.mark.parametrize("opcode", BY_OPCODE)
def test_every_opcode_that_can_call_is_refused_by_name_and_without_effect(opcode, tmp_path, extensions):
    target, path = tmp_path / "owned", tmp_path / "x.pkl"
    payload = by_opcode(opcode, target)
    assert opcode in {code.name for code, _, _ in pickletools.genops(payload)}
    pickle.loads(payload)
    assert target.exists()  # Python's own unpickler does run it
    target.rmdir()
    path.write_bytes(payload)
    wanted = r"extension code \d+" if opcode.startswith("EXT") else rf"{__name__}\.(act|Trap)"
    with pytest.raises(Refused, match=rf"x\.pkl wants {wanted}, .*nothing of it was run"):
        load(path)
    assert not target.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pkl"]


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b"Psomething\n.", "persistent id 'something'"),
        (b"\x80\x02X\x09\0\0\0somethingQ.", "persistent id 'something'"),
        (b"\x80\x02)Q.", "a persistent id"),
        (b"\x80\x05\x97.", "a buffer outside"),
        (b"\x80\x02X\x01\0\0\0a)R.", "a call of a str"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81)R.", "a call of a dict"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "an object of numpy.dtype"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "a call of torch.FloatStorage"),
        (b"\x80\x02cnumpy\ndtype\nX\x01\0\0\0O\x85R.", "an array of type 'O'"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "a state for numpy.dtype"),
        (b"\x80\x02]}b.", "a state for a list"),
        (b"\x80\x04\x8c\x05numpy\x8c\x14ndarray.__globals__.x\x93.", "numpy.ndarray.__globals__.x"),
        (b"(iargparse\nNamespace\n.", "an object of argparse.Namespace in the manner"),
        (b"(cargparse\nNamespace\no.", "an object in the manner of Python 1"),
    ],
)  # fmt: skip
def test_other_ways_out_are_refused(payload, wanted, tmp_path):
    payload = payload.replace(b"\x8c\x14ndarray", b"\x8c\x15ndarray")  # length of the dotted name
    (tmp_path / "x.pkl").write_bytes(payload)
    with pytest.raises(Refused, match=f"wants {wanted}".replace(".", r"\.")):
        load(tmp_path / "x.pkl")


def in_zip(value, path):
    torch.save(value, path)


def in_stream(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def in_pickle(value, path):
    path.write_bytes(pickle.dumps(value))


def in_storage(value, path):
    """A pickle in a pickle: the bytes that a tensor's storage would have."""
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    path.write_bytes(pickle.dumps(Nested(stream.getvalue())))


class Nested:
    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)


@pytest.mark.parametrize("write", [in_zip, in_stream, in_pickle, in_storage])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda hostile: hostile,
        lambda hostile: {"model": {"conv1.weight": torch.zeros(2), "x": [(hostile,)]}},
        lambda hostile: collections.OrderedDict([("a", {"b": hostile})]),
    ],
)
def test_hostile_objects_hide_nowhere(write, wrap, tmp_path):
    target, path = tmp_path / "owned", tmp_path / "x.pt"
    write(wrap(Reduced(str(target))), path)
    with pytest.raises(Refused, match=rf"wants {__name__}\.act"):
        load(path)
    assert not target.exists()


def test_nested_files_hold_storages_only_and_end_somewhere(tmp_path):
    path = tmp_path / "x.pkl"
    inner = io.BytesIO()
    torch.save(torch.zeros(2).untyped_storage(), inner, _use_new_zipfile_serialization=False)
    outer = io.BytesIO()
    torch.save(Nested(inner.getvalue()), outer, _use_new_zipfile_serialization=False)
    for data in (b"\x80\x02K\x01.", outer.getvalue()):
        path.write_bytes(pickle.dumps(Nested(data)))
        with pytest.raises(Refused, match="_load_from_bytes of something that is no storage"):
            load(path)


def test_source_code_in_official_files_is_not_run(tmp_path):
    target = tmp_path / "owned"
    source = f"import os; os.mkdir({str(target)!r})"
    for save in (nvidia.save, tensorflow.save):
        save(tmp_path / "x.pkl", source=source)
        assert set(load(tmp_path / "x.pkl").parts) == {"generator", "generator_raw", "discriminator"}
        assert not target.exists()
        (tmp_path / "checksums.json").unlink()


def plain_values(value):
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        yield Reader().read(io.BytesIO(pickle.dumps(value, protocol=protocol)))


def test_plain_values_come_back_in_every_protocol():
    shared = ["x"]
    value = {
        "a": [1, -1, 2**70, 1.5, True, None, "ü", b"\xff\0"], "b": (shared, shared), "c": {"d": ()},
        "e": {1, 2}, "f": (1, 2, 3, 4), "g": b"", "h": list(range(2000)),
    }  # fmt: skip
    for read in plain_values(value):
        assert read == value
        assert read["b"][0] is read["b"][1]
    for read in plain_values(collections.OrderedDict(a=1, b=2)):
        assert read == {"a": 1, "b": 2}
        assert list(read) == ["a", "b"]
    for read in plain_values(np.float32(1.5)):
        assert read == 1.5


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i8", "|u1", "|b1", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_arrays_come_back(dtype, order):
    array = np.asarray(np.arange(12).reshape(3, 4) % 5, dtype=dtype, order=order)
    for read in plain_values(array):
        np.testing.assert_array_equal(read.value, array)
        assert read.value.dtype == array.dtype


def test_tensors_share_storages_and_keep_their_strides(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    parameter = torch.nn.Parameter(base[1:3, ::2])
    for write in (in_zip, in_stream, in_pickle):
        write(
            {"conv1.weight": base.T, "x": parameter, "y": base.half(), "z": torch.tensor(3)}, tmp_path / "x"
        )
        value = torchfiles.read((tmp_path / "x").read_bytes())
        stored = {key: array.value for key, array in value.items()}
        assert torch.equal(stored["conv1.weight"], base.T)
        assert torch.equal(stored["x"], parameter.detach())
        assert torch.equal(torchfiles.tensor(value["y"]), base)
        assert int(stored["z"]) == 3
        if write is not in_pickle:
            pointers = [stored[key].untyped_storage().data_ptr() for key in ("x", "conv1.weight")]
            assert pointers[0] == pointers[1]


class Rebuilt:
    """A tensor whose place in its storage of four numbers is what the file says."""

    def __init__(self, offset, size, stride):
        self.place = offset, size, stride

    def __reduce__(self):
        storage = torch.zeros(4)._typed_storage()
        return torch._utils._rebuild_tensor_v2, (storage, *self.place, False, collections.OrderedDict())


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (0, (4,), (2,)),
        (3, (2,), (1,)),
        (3, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (2**40,), (0,)),
        (0, (2,), (1, 1)),
    ],
)
def test_tensors_stay_inside_their_storage(offset, size, stride, tmp_path):
    for write in (in_pickle, in_zip, in_stream):
        write({"x": Rebuilt(offset, size, stride)}, tmp_path / "x.pkl")
        with pytest.raises(ValueError, match=r"x\.pkl is damaged .*a tensor .* of a storage of 4 numbers"):
            load(tmp_path / "x.pkl")


@pytest.mark.parametrize("kind", ["zip", "stream"])
def test_every_truncation_and_flip_gives_a_clear_error_or_the_same_shapes(kind, tmp_path):
    path = tmp_path / "walk.ckpt"
    save_walk(path, torch.ones(2, 4, 3), zipped=kind == "zip")
    content = path.read_bytes()
    assert load(path).tensors["T"].shape == (2, 4, 3)
    (tmp_path / "checksums.json").unlink()
    for length in range(0, len(content) - 1, 17):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"walk\.ckpt"):
            load(path)
    rng, survived = random.Random(0), 0
    for position in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[position] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            tensors = load(path).tensors
        except ValueError:
            continue
        survived += 1
        (tmp_path / "checksums.json").unlink()
        assert tensors.keys() == {"T"}
        if kind == "zip":  # which has checksums of its own
            assert torch.equal(tensors["T"], torch.ones(2, 4, 3))
    assert survived < len(content) // 10


def test_deep_nesting_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "x.pkl"
    for payload in (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", b"\x80\x02" + b"(" * 20_000):
        path.write_bytes(payload)
        with pytest.raises(ValueError, match=r"x\.pkl"):
            load(path)


def endless(leaf, pair):
    """Sixty steps, each of the one before twice: 2^60 things to whoever walks them."""
    for _ in range(60):
        leaf = pair(leaf)
    return leaf


def test_what_doubles_sixty_times_is_neither_walked_nor_printed(tmp_path):
    path, nest = tmp_path / "x.pkl", endless((), lambda x: (x, x))
    path.write_bytes(b"\x80\x02)" + b"2\x86" * 60 + b"q\x00}h\x00K\x01s.")  # as a key
    with pytest.raises(ValueError, match="a tuple where"):
        load(path)
    path.write_bytes(b"\x80\x02)" + b"2\x86" * 60 + b"Q.")
    with pytest.raises(Refused, match="wants a persistent id"):
        load(path)
    tensorflow.save(path, nonlinearity=nest)
    with pytest.raises(ValueError, match="nonlinearity is a tuple; only lrelu"):
        load(path)
    nvidia.save(path, change=lambda data: data["G"].state.update(c_dim=nest))
    with pytest.raises(ValueError, match="c_dim is no plain value"):
        load(path)

    def twice(child):
        parent = nvidia.Persistent("Module", "")
        parent.state["_modules"] = {"a": child, "b": child}
        return parent

    tree = endless(nvidia.Persistent("Module", ""), twice)
    nvidia.save(path, change=lambda data: data["G"].state["_modules"].update(x=tree))
    with pytest.raises(ValueError, match="more than 1000 modules"):
        load(path)


def test_archives_that_torch_does_not_write(tmp_path):
    path = tmp_path / "x.pt"
    for members, compression, message in (
        (["a/other.pkl"], zipfile.ZIP_STORED, "not one that torch.save writes"),
        (["a/data.pkl", "a/constants.pkl"], zipfile.ZIP_STORED, "not one that torch.save writes"),
        (["a/data.pkl"], zipfile.ZIP_DEFLATED, "compressed"),
    ):
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name in members:
                archive.writestr(name, b"\x80\x02N.")
        with pytest.raises(ValueError, match=message):
            load(path)
