"""How much memory a file may make.

A pickle of a few hundred bytes can ask for copies of copies without end. An honest file makes little more
than itself: its bytes, its storages, its tensors in float32.
"""

from typing import Any

MULTIPLE = 6
"""Times its own size. Storages within a plain pickle, in half precision, need 4: bytes, storage, float32."""

CONSTANT = 64 << 20
"""Bytes beside, for small files."""

ITEM = 256
"""Bytes of one value, or of one place in a tuple, list, dict or set, at most."""


class Budget:
    """What one file may still make, in bytes; everything that copies for it spends from here first."""

    def __init__(
        self,
        size: int = 0,  # bytes of the file
    ) -> None:
        self.whole = MULTIPLE * size + CONSTANT
        self.left = self.whole

    def spend(self, count: int) -> None:
        """Take `count` bytes; ValueError where they are not left."""
        self.left -= count
        if self.left < 0:
            raise ValueError(
                f"it makes more than {self.whole} bytes, expected at most {MULTIPLE} times its size"
            )


def size(value: Any) -> int:
    """Bytes of text, bytes or a container, without what a container's items hold; 0 for anything else."""
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    return ITEM * len(value) if isinstance(value, tuple | list | dict | set | frozenset) else 0
