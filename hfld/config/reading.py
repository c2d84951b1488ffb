"""Strict reading of settings, by pydantic: what is wrong gets one clear line."""

import json
import re
from dataclasses import fields
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError

from hfld.attributes import attribute_index, index_of


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        attribute_index(name)
    return names


AttributeNames = Annotated[tuple[str, ...], AfterValidator(_known)]
"""Names of hfld.attributes.ATTRIBUTES."""


def read_section(cls: type, values: Any, *, where: str) -> Any:
    """A dataclass from what YAML or JSON has for it; ValueError names the first wrong key, after `where`.

    Only keys with a default may be left out, none is unknown, and no type is guessed: text is not a number.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected keys and values, got {values!r}")
    try:
        for key in values:
            index_of(key, [field.name for field in fields(cls)], "key")
        # As JSON, where a list is what there is for a tuple, and 1 for 1.0.
        return _adapter(cls).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise ValueError(f"{where}, {_complaint(error)}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


@cache
def _adapter(cls: type) -> TypeAdapter:
    return TypeAdapter(cls)


def _complaint(error: ValidationError) -> str:
    """The first wrong key, and what is wrong with it; a union has an error for each of its types."""
    errors = error.errors()
    first, key = errors[0], errors[0]["loc"][0]
    if first["type"] == "missing":
        return f"{key}: missing"
    errors = [e for e in errors if e["loc"][0] == key]
    for found in errors:
        if found["type"] == "value_error":
            return f"{key}: {found['ctx']['error']}"
    expected = " or ".join(e["msg"].removeprefix("Input should be ") for e in errors)
    if first["type"] == "float_type" and re.fullmatch(r"[-+.\d]+e[-+\d]+", str(first["input"]), flags=re.I):
        expected += "; YAML reads 1e-4 as text, write 1.0e-4"
    return f"{key}: got {first['input']!r}, expected {expected}"
