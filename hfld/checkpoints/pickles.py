"""Pickles read without running them: opcodes become plain values, names stay names.

Python's unpickler imports and calls whatever a file names. This one interprets the opcode stream itself (as
`pickletools.genops` parses it): the only names that may appear stand in the tables below, and what is called
in their place is a function of this package that makes a tensor, an array or a record of plain values.
Anything else is refused with the name of what the file wanted. What is made is paid from a `Budget`.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pickletools import genops
from typing import Any

import numpy as np

from hfld.checkpoints.budget import ITEM, Budget, size

LONGEST = 200  # characters of a name, or of several joined by dots


class Refused(ValueError):
    """A file wants something that no known format needs; the message names it."""


@dataclass(frozen=True)
class Name:
    """A global of some module, never imported."""

    text: str  # "module.name"


@dataclass
class Record:
    """An object of a class that is not ours: the name of the class and plain attributes."""

    kind: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass
class Dtype:
    """A numpy type of numbers; its byte order comes as a state."""

    value: np.dtype


@dataclass
class Array:
    """Numbers of a file: numpy's, whose content comes as a state, or a torch tensor."""

    value: Any = None  # np.ndarray or Tensor
    budget: Budget | None = None  # pays for copies


def _dtype(code: str, *_: Any) -> Dtype:
    if not re.fullmatch(r"[fiub]\d", typed(str, code)):
        raise Refused(f"an array of type {brief(code)}")
    return Dtype(np.dtype(code))


def _scalar(dtype: Dtype, raw: bytes | str) -> float | int | bool:
    return np.frombuffer(_bytes(raw), typed(Dtype, dtype).value)[0].item()


def _from_buffer(raw: bytes, dtype: Dtype, shape: tuple[int, ...], order: str) -> Array:
    array = Array()
    _build(array, (1, shape, dtype, order == "F", raw))
    return array


def _bytes(raw: bytes | str) -> bytes:
    return raw.encode("latin1") if isinstance(raw, str) else typed(bytes | bytearray, raw)


def _ordered(items: Iterable[Any] = ()) -> dict[Any, Any]:
    return _pairs([part for key, value in items for part in (key, value)])


def _persistent_object(meta: dict[str, Any]) -> Record:
    """NVIDIA's persistence: meta holds the class's source code, which is left alone, and the state."""
    meta = typed(dict, meta)
    return Record(typed(str, meta["class_name"]), typed(dict, meta["state"]))


RECORDS = {
    "argparse.Namespace",
    "dnnlib.tflib.network.Network",
    "graphs.stylegan_v2_real.transform_base.WalkLinearMultiW",
}
"""Classes whose objects become a Record."""

DICTS = {"collections.OrderedDict", "dnnlib.util.EasyDict"}
"""Classes whose objects become a dict; attributes beside the items are dropped."""

CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": lambda *_: {},
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
    "_codecs.encode": lambda text, _: typed(str, text).encode("latin1"),
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": lambda *_: Array() for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    **{f"{builtins}.set": lambda items=(): set(_keys(items)) for builtins in ("builtins", "__builtin__")},
    **{f"{builtins}.bytes": lambda: b"" for builtins in ("builtins", "__builtin__")},
}
"""Names that a file may call, and what answers in their place."""

INERT = {"numpy.ndarray", "builtins.dict", "__builtin__.dict"}
"""Names that may stand as arguments."""

_NEVER = {
    "EXT1": "extension code",
    "EXT2": "extension code",
    "EXT4": "extension code",
    "PERSID": "persistent id",
    "NEXT_BUFFER": "a buffer outside of the file",
    "READONLY_BUFFER": "a buffer outside of the file",
}


def _refuse_id(key: Any) -> Any:
    raise Refused(f"persistent id {key[:80]!r}" if isinstance(key, str) else "a persistent id")


class Reader:
    """Reads pickles one after the other from a stream. Values: plain Python, Record, Array, and what `calls`
    and `persistent` return."""

    def __init__(
        self,
        *,
        calls: Mapping[str, Callable[..., Any]] | None = None,  # beside CALLS
        inert: Iterable[str] = (),  # beside INERT
        persistent: Callable[[Any], Any] = _refuse_id,  # persistent id -> value
        budget: Budget | None = None,  # of the whole file; None: that of a small one
    ) -> None:
        self.calls = {**CALLS, **(calls or {})}
        self.names = RECORDS | DICTS | INERT | set(inert) | set(self.calls)
        self.persistent = persistent
        self.budget = budget or Budget()

    def read(self, stream: BytesIO) -> Any:
        """The value of the next pickle; Refused names what it wanted, ValueError where it is damaged."""
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        place = "its start"
        try:
            for opcode, argument, position in genops(stream):
                place = f"byte {position}"
                self.budget.spend(ITEM)
                if opcode.name == "STOP":
                    (value,) = self.stack
                    return value
                self._step(opcode.name, argument)
        except Refused:
            raise
        except Exception as error:  # a damaged stream may trip over anything
            raise ValueError(f"damaged at {place}: {error or type(error).__name__}") from error
        raise ValueError("damaged: it has no end")

    def _step(self, name: str, argument: Any) -> None:
        """Plain values, the stack and the memo."""
        stack = self.stack
        if name in _NEVER:
            raise Refused(_NEVER[name] if argument is None else f"{_NEVER[name]} {argument!r:.80}")
        if name in _IGNORED:
            return
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[_key(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[_key(argument)])
        elif name == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif name in _FROM_MARK:
            items = self._pop_mark()
            self.stack.append(_FROM_MARK[name](items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])] if len(stack) >= count else _underflow()
        elif name == "POP":
            _ = stack.pop() if stack else self._pop_mark()
        elif name == "POP_MARK":
            self._pop_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in ("APPEND", "APPENDS"):
            items = self._pop_mark() if name == "APPENDS" else [stack.pop()]
            typed(list, self.stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            typed(dict, self.stack[-1]).update(_pairs(items))
        elif name == "ADDITEMS":
            items = self._pop_mark()
            typed(set, self.stack[-1]).update(_keys(items))
        else:
            self._make(name, argument)

    def _make(self, name: str, argument: Any) -> None:
        """Names, and the objects that are made by them."""
        stack = self.stack
        if name in ("GLOBAL", "INST"):
            self._name(*argument.split(" ", 1))
            if name == "INST":
                raise Refused(f"an object of {argument.replace(' ', '.')} in the manner of Python 1")
        elif name == "STACK_GLOBAL":
            second, first = stack.pop(), stack.pop()
            self._name(typed(str, first), typed(str, second))
        elif name == "REDUCE":
            arguments, callee = stack.pop(), stack.pop()
            stack.append(self._call(callee, arguments))
        elif name in ("NEWOBJ", "NEWOBJ_EX", "OBJ"):
            if name == "OBJ":
                self._new(next(iter(self._pop_mark()), None))
                raise Refused("an object in the manner of Python 1")
            del stack[-2 if name == "NEWOBJ_EX" else -1 :]
            stack.append(self._new(stack.pop()))
        elif name == "BUILD":
            state = stack.pop()
            self._pay(state if isinstance(state, tuple) else (state,))
            _build(stack[-1], state)
        elif name == "BINPERSID":
            stack.append(self.persistent(stack.pop()))
        else:
            raise Refused(f"the opcode {name}")

    def _pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _name(self, module: str, name: str) -> None:
        text = f"{module}.{name}"
        if text not in self.names:
            raise Refused(text[:LONGEST])
        self.stack.append(Name(text))

    def _call(self, callee: Any, arguments: Any) -> Any:
        if not isinstance(callee, Name) or callee.text not in self.calls:
            raise Refused(f"a call of {_text(callee)}")
        self._pay(typed(tuple, arguments))
        value = self.calls[callee.text](*arguments)
        if isinstance(value, Array):
            value.budget = self.budget
        return value

    def _pay(self, values: tuple[Any, ...]) -> None:
        """Pay for a copy of each: a file may hand the same ones over again and again."""
        self.budget.spend(size(values) + sum(map(size, values)))

    def _new(self, kind: Any) -> Any:
        if isinstance(kind, Name) and kind.text in DICTS:
            return {}
        if isinstance(kind, Name) and kind.text in RECORDS:
            return Record(kind.text.rsplit(".", 1)[1])
        raise Refused(f"an object of {_text(kind)}")


def _build(target: Any, state: Any) -> None:
    """What BUILD may do: fill records and arrays."""
    if isinstance(target, Record):
        target.state.update(typed(dict, state))
    elif isinstance(target, Dtype):
        order = typed(tuple, state)[1]
        target.value = target.value.newbyteorder(order) if order in ("<", ">") else target.value
    elif isinstance(target, Array):
        _, shape, dtype, fortran, raw = typed(tuple, state)
        shape = integers(shape)
        flat = np.frombuffer(_bytes(raw), typed(Dtype, dtype).value)
        if min(shape, default=0) < 0 or math.prod(shape) != flat.size:
            raise ValueError(f"{flat.size} numbers for an array of shape {shape}")
        target.value = flat.reshape(shape, order="F" if fortran else "C")
    elif not isinstance(target, dict):
        raise Refused(f"a state for {_text(target)}")


def typed(kind: Any, value: Any) -> Any:
    """`value`, which must be a `kind`."""
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} where {getattr(kind, '__name__', kind)} belongs")
    return value


def integers(values: Any) -> tuple[int, ...]:
    """A shape or strides: quick to compute with, and to print."""
    values = typed(tuple, values)
    if len(values) > 16 or not all(isinstance(value, int) and value.bit_length() < 48 for value in values):
        raise ValueError(f"{len(values)} values that are no shape, expected at most 16 integers")
    return values


def short(value: Any) -> str:
    """A name; a crafted file could join long ones without end."""
    if len(typed(str, value)) > LONGEST:
        raise ValueError(f"a name of {len(value)} characters, expected at most {LONGEST}")
    return value


def brief(value: Any) -> str:
    """A value in a message; what is not plain by its type, since a crafted nest prints without end."""
    return repr(value)[:60] if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def _underflow() -> list[Any]:
    raise ValueError("it takes more than it has")


def _keys(items: Iterable[Any]) -> list[Any]:
    return [_key(item) for item in items]


def _key(value: Any) -> Any:
    """Only what is quick to hash and to find: nests take for ever, large integers share their hashes."""
    if isinstance(value, int) and value.bit_length() > 60:
        raise ValueError(f"an integer of {value.bit_length()} bits as a key, expected at most 60")
    return typed(str | int | float | bytes | None, value)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(_keys(items[::2]), items[1::2], strict=True))


def _text(value: Any) -> str:
    return value.text if isinstance(value, Name) else f"a {type(value).__name__}"


_IGNORED = {"PROTO", "FRAME"}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_FROM_MARK: dict[str, Callable[[list[Any]], Any]] = {
    "LIST": list,
    "DICT": _pairs,
    "TUPLE": tuple,
    "FROZENSET": lambda items: frozenset(_keys(items)),
}
