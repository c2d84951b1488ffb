"""Files of an edit, each marked as synthetic: picture, latent, animation, film; and the way back."""

import io
import json
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hfld.images import replacing
from hfld.photos import reading
from hfld.photos.synthetic import MARKS, RECIPE_KEY, xmp

MARK = MARKS["generated"]
XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")  # the box that carries XMP in an MP4
MAX_UPLOAD = 64 << 20  # bytes of a picture file
FRAME_SECONDS = 0.12  # of films


def recipe_in_png(content: bytes) -> str | None:
    """The recipe's text in a saved PNG, None if it carries none."""
    if not content.startswith(b"\x89PNG"):
        return None
    picture = open_upload(content)
    if picture.width * picture.height > reading.MAX_PIXELS:
        return picture.info.get(RECIPE_KEY)  # none is saved so large, and decoding it takes long
    try:
        picture.load()  # text may stand behind the pixels
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError("this picture is damaged") from error
    return picture.info.get(RECIPE_KEY)


def open_upload(content: bytes) -> Image.Image:
    """A picture file, opened but not decoded; ValueError in plain words if it is none."""
    check_size(content)
    try:
        return reading.open_picture(content)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("this file is no picture that can be read") from error
    except ValueError as error:
        raise ValueError(f"this picture is too large: {error}") from error


def check_size(content: bytes) -> None:
    """ValueError for a file that is larger than any picture that is opened."""
    if len(content) > MAX_UPLOAD:
        raise ValueError(
            f"this picture has {len(content) / 2**20:.0f} MB; files of at most {MAX_UPLOAD >> 20} MB "
            "are opened. Save it as JPEG or make it smaller"
        )


def latent(ws: Tensor, recipe: dict[str, Any]) -> bytes:
    """ws [1, L, w_dim] as a safetensors file, the recipe in its header."""
    header = {"hfld": json.dumps({"synthetic": MARK, "recipe": recipe})}
    return save({"ws": ws.detach().cpu().float().contiguous()}, metadata=header)


def read_latent(content: bytes) -> Tensor:
    """ws [1, L, w_dim] of a saved latent; ValueError if the file holds none."""
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(f"this latent is damaged: {error}") from error
    if "ws" not in tensors:
        raise ValueError(f"this file holds no latent 'ws' but {', '.join(sorted(tensors)) or 'nothing'}")
    return torch.as_tensor(tensors["ws"])


def recipe_in_latent(content: bytes) -> str | None:
    """The recipe's text in the header of a latent that `read_latent` has read, None if it carries none."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    try:
        recipe = json.loads(header.get("__metadata__", {}).get("hfld", "{}")).get("recipe")
    except (ValueError, AttributeError) as error:
        raise ValueError("this latent's header is damaged") from error
    return None if recipe is None else json.dumps(recipe)


def gif(frames: Sequence[np.ndarray]) -> bytes:
    """Frames there and back again, for ever."""
    pictures = [Image.fromarray(frame) for frame in (*frames, *frames[-2:0:-1])]
    buffer = io.BytesIO()
    options = {"duration": round(1000 * FRAME_SECONDS), "loop": 0, "comment": MARK.encode()}
    pictures[0].save(buffer, "gif", save_all=True, append_images=pictures[1:], **options)
    return buffer.getvalue()


def mp4(frames: Sequence[np.ndarray]) -> bytes:
    """Frames there and back again; ValueError where OpenCV has no codec for it."""
    height, width = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = cv2.VideoWriter(
            str(path), cv2.VideoWriter.fourcc(*"mp4v"), 1 / FRAME_SECONDS, (width, height)
        )
        try:
            if not writer.isOpened():
                raise ValueError("this OpenCV has no MP4 codec; save a GIF instead")
            for frame in (*frames, *frames[-2:0:-1]):
                writer.write(np.ascontiguousarray(frame[..., ::-1]))
        finally:
            writer.release()
        content = path.read_bytes()
    packet = XMP_UUID + xmp("generated").encode()
    return content + (len(packet) + 8).to_bytes(4, "big") + b"uuid" + packet


def write_together(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Write files under free names: the second seed7.png becomes seed7-2.png, with its companions."""
    files = list(files)
    number = 1
    while any((folder / _numbered(name, number)).exists() for name, _ in files):
        number += 1
    paths = [folder / _numbered(name, number) for name, _ in files]
    with ExitStack() as stack:  # all or none: a full disk leaves neither half a file nor a temporary one
        for path, (_, content) in zip(paths, files, strict=True):
            stack.enter_context(replacing(path)).write_bytes(content)
    return paths


def _numbered(name: str, number: int) -> str:
    stem, dot, suffix = name.partition(".")
    return name if number == 1 else f"{stem}-{number}{dot}{suffix}"
