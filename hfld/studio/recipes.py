"""An edit as a small JSON text: source, edits, editors, and the weights that it belongs to."""

import base64
import json
from importlib import metadata
from typing import Any

import numpy as np
import torch

from hfld.images import sha256
from hfld.studio.engine import NETWORKS, Engine
from hfld.studio.state import Source, State

FORMAT = "hfld recipe"
VERSION = 2
MAX_SIZE = 4 << 20  # bytes of a recipe's text; a 1024 px latent is a fifth of a megabyte


def recipe(engine: Engine, state: State) -> dict[str, Any]:
    """Everything needed to make the same pixels again, as plain JSON values."""
    used = {*NETWORKS, state.editor, state.second}
    if state.expression_lock:
        used.add("landmarks")
    return {
        "format": FORMAT,
        "version": VERSION,
        "synthetic": True,
        "profile": engine.profile,
        "source": _source_to_json(state.source),
        "editor": state.editor,
        "second": state.second,
        "targets": dict(state.targets),
        "held": sorted(state.held),
        "layers": None if state.layers is None else list(state.layers),
        "expression_lock": state.expression_lock,
        "active": state.active,
        "weights": {name: value for name, value in engine.weights.items() if name in used},
        "versions": {name: _version(name) for name in ("hfld", "torch", "numpy")},
        "pixels": pixel_hash(engine.result(state).image),
    }


def to_text(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def parse(text: str | bytes) -> dict[str, Any]:
    """A recipe's values; ValueError says in plain words why a text is none."""
    if len(text) > MAX_SIZE:
        raise ValueError(f"this file is {len(text) / 1e6:.1f} MB, too large for a recipe")
    try:
        values = json.loads(text)
    except (UnicodeDecodeError, ValueError) as error:
        raise ValueError("this file is not a recipe: it is damaged or no JSON") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"this file is not a recipe: it does not say 'format': '{FORMAT}'")
    if values.get("version") != VERSION:
        raise ValueError(
            f"this recipe has version {values.get('version')!r}; this program reads version {VERSION}"
        )
    return values


def state_of(engine: Engine, values: dict[str, Any]) -> State:
    """The state of a parsed recipe, for an engine with the same weights.

    Raises ValueError if it was made with other weights, or names what this session does not have. A generator
    that was tuned to a photo elsewhere is no part of a recipe: the session's own takes its place.
    """
    check_weights(engine, values)
    try:
        layers = values.get("layers")
        state = State(
            source=_drawable(engine, _source_from_json(values["source"])),
            editor=values["editor"],
            second=values.get("second"),
            targets=dict(values["targets"]),
            held=frozenset(values.get("held", ())),
            layers=None if layers is None else (int(layers[0]), int(layers[1])),
            expression_lock=bool(values.get("expression_lock", False)),
            active=values.get("active"),
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"this recipe is damaged: {type(error).__name__} at {error}") from error
    return engine.check(state)


def check_weights(engine: Engine, values: dict[str, Any]) -> None:
    """ValueError unless generator, regressor and editors are those that the recipe was made with."""
    wanted = values.get("weights")
    if not isinstance(wanted, dict) or "generator" not in wanted:
        raise ValueError("this recipe does not say which weights it was made with")
    for name, value in wanted.items():
        here = engine.weights.get(name)
        if here is None:
            raise ValueError(f"this recipe uses {name!r}, which this session does not have")
        if here != value:
            raise ValueError(
                f"this recipe was made with other weights: {name} is {str(value)[:8]}… there and {here[:8]}… "
                f"here (profile {values.get('profile')!r}). The same edit would show another picture, so it "
                "is not loaded"
            )


def same_pixels(engine: Engine, state: State, values: dict[str, Any]) -> str | None:
    """None if the state shows the recipe's pixels, else one sentence about the difference."""
    if values.get("pixels") in (None, pixel_hash(engine.result(state).image)):
        return None
    made = values.get("versions", {}).get("torch", "an unknown version")
    why = f"it was made with torch {made}, this is {_version('torch')}, perhaps on another processor."
    if values["source"].get("tuned", "") != state.source.tuned:
        why = (
            "they were drawn by a generator that was tuned to the photo, which is not here. Open the photo "
            "and sharpen its fit."
        )
    return f"The recipe is loaded, but its pixels differ from the saved ones: {why}"


def pixel_hash(image: np.ndarray) -> str:
    """sha256 of the shape and bytes of a uint8 picture."""
    return sha256(f"{image.shape}".encode(), image)


def _source_to_json(source: Source) -> dict[str, Any]:
    if source.seed is not None:
        return {"seed": source.seed}
    values = source.ws.numpy().astype("<f4")
    ws = {"ws": base64.b64encode(values.tobytes()).decode(), "shape": list(values.shape)}
    return ws | {key: value for key in ("name", "photo", "tuned") if (value := getattr(source, key))}


def _source_from_json(values: dict[str, Any]) -> Source:
    if "seed" in values:
        return Source.of_seed(values["seed"])
    try:
        array = np.frombuffer(base64.b64decode(values["ws"], validate=True), "<f4")
        return Source.of_latent(
            torch.from_numpy(array.reshape(values["shape"]).copy()),
            values.get("name", ""),
            values.get("photo", ""),
            values.get("tuned", ""),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"the recipe's latent is damaged: {error}") from error


def _drawable(engine: Engine, source: Source) -> Source:
    """The source by the session's own generator, where the tuned one is not here."""
    if engine.has(source.tuned):
        return source
    return Source.of_latent(source.ws, source.name, source.photo)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
