"""sha256 of weight files: compared where it is known, recorded where it is not."""

import json
import re
from contextlib import suppress
from pathlib import Path

from hfld.images import write_text

RECORD = "checksums.json"
"""File name -> sha256 of the files beside it, written when each was read for the first time."""


def compare(path: Path, digest: str, expected: str | None = None) -> None:
    """Compare a file's digest with `expected`, with its name and with the folder's record.

    A name like torchvision's `resnet18-f37072fd.pth` carries the first digits. ValueError says what to do.
    """
    record = path.with_name(RECORD)
    named = re.search(r"-([0-9a-f]{8,64})\.[^.]+$", path.name)
    for source, value in (
        ("the caller", expected),
        ("its name", named and named[1]),
        (str(record), _read(record).get(path.name)),
    ):
        if value and not digest.startswith(value.lower()):
            raise ValueError(
                f"{path} has sha256 {digest}, but {source} says {value}: fetch the file again, or "
                f"correct what is said if this is the file that is wanted"
            )


def remember(path: Path, digest: str) -> None:
    """Enter a file that is new into its folder's record; a folder that cannot be written to has none."""
    record = path.with_name(RECORD)
    known = _read(record)
    if path.name in known:
        return
    text = json.dumps({**known, path.name: digest}, indent=2, sort_keys=True) + "\n"
    with suppress(OSError):
        write_text(record, text)


def _read(record: Path) -> dict[str, str]:
    if not record.is_file():
        return {}
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{record} is damaged ({error}); delete it to record anew") from error
    if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
        raise ValueError(f"{record} is damaged (no table of names and digests); delete it to record anew")
    return known
