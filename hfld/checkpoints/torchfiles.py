"""Tensors out of pickles: torch's zip archives, its older stream of pickles, plain pickles with tensors."""

import math
import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch
from torch import Tensor

from hfld.checkpoints.budget import ITEM, Budget
from hfld.checkpoints.pickles import Array, Name, Reader, Refused, integers, typed

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of torch's older format
MOST = 1000  # tensors or modules of a network; a ResNet-50 has 320 tensors, config-f at 1024 has 80 modules
STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}


def read(data: bytes) -> Any:
    """The object in a file of any of the three kinds; tensors are an `Array`, views of storages in memory.

    Refused names what the file wanted, ValueError says where it is damaged.
    """
    budget = Budget(len(data))
    if data[:4] == b"PK\x03\x04":
        return _read_zip(data, budget)
    stream = BytesIO(data)
    first = Reader(calls=_calls(budget, depth=1), inert=STORAGES, budget=budget).read(stream)
    return _read_stream(stream, budget) if isinstance(first, int) and first == MAGIC else first


def tensor(value: Any) -> Tensor:
    """A contiguous float32 copy (integers stay) of a tensor or numpy array of a file."""
    if isinstance(value, Array) and value.value is not None:
        value = _unpacked(value)
    if isinstance(value, int | float):
        value = torch.tensor(value)
    if not isinstance(value, Tensor):
        raise ValueError(f"a {type(value).__name__} where a tensor belongs")
    value = value.float() if value.is_floating_point() else value
    return value.clone(memory_format=torch.contiguous_format)


def tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """`tensor` of each; ValueError where they are more than any network has."""
    if len(values) > MOST:
        raise ValueError(f"{len(values)} tensors, expected at most {MOST} in a network")
    return {key: tensor(value) for key, value in values.items()}


def _unpacked(array: Array) -> Tensor:
    """The tensor in `array`, whose copy its file's budget pays."""
    value = array.value
    count, width = (value.numel() if isinstance(value, Tensor) else value.size), value.itemsize
    if array.budget is not None:
        array.budget.spend(ITEM + count * max(width, 4))
    if isinstance(value, Tensor):
        return value
    return torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C"))


def _calls(budget: Budget, *, depth: int) -> dict[str, Any]:
    """What a pickle with tensors may call; `depth` counts how often a storage may be a file within a file."""

    def nested(data: bytes) -> Any:
        stream = BytesIO(typed(bytes, data))
        if not depth or Reader(budget=budget).read(stream) != MAGIC:
            raise Refused("torch.storage._load_from_bytes of something that is no storage")
        return _read_stream(stream, budget, depth=depth - 1)

    return {
        "torch._utils._rebuild_tensor": _view,
        "torch._utils._rebuild_tensor_v2": _view,
        "torch._utils._rebuild_parameter": lambda value, *_: value,
        "torch.storage._load_from_bytes": nested,
        "torch.Size": lambda sides=(): tuple(typed(tuple | list, sides)),
        "torch.device": lambda *_: None,  # where it was does not matter
    }


def _view(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Array:
    """A tensor on a flat storage, inside of its bounds and no larger than it."""
    storage, size, stride = typed(Tensor, storage), integers(size), integers(stride)
    (offset,) = integers((offset,))
    if min((offset, *size, *stride)) < 0 or math.prod(size) > storage.numel() or len(size) != len(stride):
        raise ValueError(f"a tensor {size} at {offset} of a storage of {storage.numel()} numbers")
    if math.prod(size) == 0:
        return Array(storage.new_empty(size))
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if last >= storage.numel():
        raise ValueError(f"a tensor {size} at {offset} of a storage of {storage.numel()} numbers")
    return Array(storage.as_strided(size, stride, offset))


def _numbers(raw: bytes, dtype: torch.dtype, count: int) -> Tensor:
    if len(raw) != count * dtype.itemsize:
        raise ValueError(f"{len(raw)} bytes for {count} numbers of {dtype}")
    return torch.frombuffer(bytearray(raw), dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _storage_id(key: Any) -> tuple[torch.dtype, str, int]:
    if isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage" and isinstance(key[1], Name):
        dtype = STORAGES.get(key[1].text)
        if dtype and isinstance(key[2], str) and isinstance(key[4], int) and key[4] >= 0:
            return dtype, key[2], key[4]
    named = f"{key[0][:80]!r}" if isinstance(key, tuple) and key and isinstance(key[0], str) else ""
    raise Refused(f"a persistent id {named} that is no storage")


def _read_zip(data: bytes, budget: Budget) -> Any:
    """folder/data.pkl with the object, folder/data/<key> with each storage's bytes, uncompressed."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in members):
            raise ValueError("a zip archive, but not one that torch.save writes")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise ValueError("a compressed archive, which torch.save does not write")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("numbers in big-endian order")
        storages: dict[str, Tensor] = {}

        def persistent(key: Any) -> Tensor:
            dtype, name, count = _storage_id(key)
            if name not in storages:
                member = members[f"{folder}data/{name}"]
                budget.spend(member.file_size)
                storages[name] = _numbers(archive.read(member), dtype, count)
            return storages[name]

        calls = _calls(budget, depth=0)
        reader = Reader(calls=calls, inert=STORAGES, persistent=persistent, budget=budget)
        return reader.read(BytesIO(archive.read(pickles[0])))


def _read_stream(stream: BytesIO, budget: Budget, *, depth: int = 0) -> Any:
    """Behind the magic number: version, byte order, the object, the keys of its storages, their numbers."""
    version, system = (Reader(budget=budget).read(stream) for _ in range(2))
    if version != 1001 or not isinstance(system, dict) or not system.get("little_endian"):
        raise ValueError("torch's older format in an unknown version, or numbers in big-endian order")
    storages: dict[str, Tensor] = {}
    available = stream.getbuffer().nbytes

    def persistent(key: Any) -> Any:
        nonlocal available
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module" and isinstance(key[1], Name):
            return key[1]  # a module's class, beside its source code
        dtype, name, count = _storage_id(key)
        if len(key) > 5 and key[5] is not None:
            raise ValueError("a view of a storage, which torch wrote before 0.4 only")
        if name not in storages:
            available -= count * dtype.itemsize
            if available < 0:
                raise ValueError(f"a storage of {count} numbers, more than the file has")
            budget.spend(count * dtype.itemsize)
            storages[name] = torch.zeros(count, dtype=dtype)
        return storages[name]

    calls = _calls(budget, depth=depth)
    value = Reader(calls=calls, inert=STORAGES, persistent=persistent, budget=budget).read(stream)
    keys = typed(list, Reader(budget=budget).read(stream))
    if not all(isinstance(key, str) for key in keys) or set(keys) != set(storages):
        raise ValueError("storages that no tensor belongs to, or tensors without a storage")
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        if count != storages[key].numel():
            raise ValueError(f"{count} numbers where {storages[key].numel()} belong")
        numbers = _numbers(stream.read(count * storages[key].itemsize), storages[key].dtype, count)
        storages[key].copy_(numbers)
    return value
