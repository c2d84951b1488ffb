"""From a state to pixels: sources, edits in target units, held scores, layer ranges."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from hfld.attributes import ATTRIBUTES, attribute_index, index_of
from hfld.config import InversionConfig, Profile
from hfld.editors import (
    EDITORS,
    Editor,
    ExpressionLock,
    directions_file,
    editor_file,
    make_editor,
    strength_for,
)
from hfld.evaluation.judges import Judges, read, state_hash
from hfld.images import sha256, to_uint8
from hfld.models import Models, pick_device, reuse_memory
from hfld.portraits.world import PortraitWorld, world_of
from hfld.studio.latest_queue import Overtaken
from hfld.studio.state import Source, State
from hfld.studio.strengths import solve_strengths

NETWORKS = ("generator", "regressor")
"""What every picture and every strength depends on."""

ALWAYS_OFFERED = ("hfld", "baseline")
"""The second stands beside the first."""

MAX_PREVIEW_STRENGTH = 8.0  # in the editor's own unit
MAX_RESULTS = 32  # that are kept; a trajectory of two editors is 14
MAX_TUNED = 8  # generators that were tuned to photos, which the history may go back to

Stop = Callable[[], bool]
"""Whether nobody waits for a result any more."""


def never() -> bool:
    return False


LockExpression = Callable[[Editor], Editor]
"""An editor -> the same editor, whose edits leave the landmarks where they were."""


@dataclass(frozen=True)
class Face:
    """One picture and what the training regressor reads in it."""

    ws: Tensor  # [1, L, w_dim]
    image: np.ndarray  # uint8 [H, W, 3]
    scores: np.ndarray  # [40] by R: where an edit starts from


@dataclass
class Engine:
    """The networks and editors of one session. Deterministic: one face at a time, float32, fixed noise."""

    models: Models
    editors: Mapping[str, Editor]
    judges: Judges | None = None  # gauges are read by these; None: no gauges
    world: PortraitWorld | None = None  # gives the floor of the gauges by exact counterfactuals
    lock_expression: LockExpression | None = None  # None: the expression lock is not offered
    preview: int | None = None  # side of the pictures while a slider is dragged; None: the full ones
    inversion: InversionConfig | None = None  # how a photo's latent is searched; None: photos are not opened
    profile: str = "networks"
    weights: dict[str, str] = field(
        default_factory=dict
    )  # name -> sha256 of a file; recipes are bound to them

    def __post_init__(self) -> None:
        if not self.editors:
            raise ValueError("editors: none given, expected at least one")
        self.weights = _hashes_of(self.models, self.editors) | self.weights
        self.original = lru_cache(maxsize=32)(self._original)
        self._results: dict[tuple, Face] = {}  # of the newest states
        self._tuned: dict[str, Models] = {}  # with a generator that was tuned to a photo, by its digest
        self._guard = threading.Lock()  # of them, and of editors that keep what they have read
        # of corrected edits, by source, editor and attribute: strength / missing score
        self._factors: dict[tuple[Source, str, str], float] = {}

    @classmethod
    def from_profile(cls, profile: Profile, editors: Sequence[str]) -> "Engine":
        """Load what `profile` names; a missing file's error says which command makes it.

        Where 01_landmarks has trained an H, the expression lock of profile.benchmark is offered.
        """
        paths = profile.paths
        h = paths.weights / "landmarks.safetensors"
        device = pick_device(profile.world.device)
        if device.type == "cpu":
            reuse_memory()
        models = Models.load(
            paths.world,
            landmarks=h if h.is_file() else None,  # only inversion and the lock need it
            device=device,
            read_at=profile.world.read_at,
        )
        made = {name: make_editor(name, weights=paths.weights, models=models) for name in editors}
        world = world_of(profile)
        files = [(name, of(paths.weights, name)) for name in editors for of in (directions_file, editor_file)]
        return cls(
            models=models,
            editors=made,
            judges=Judges.of(profile),
            world=world and replace(world, workers=1),
            lock_expression=None if models.landmarks is None else _lock_of(profile, models),
            preview=64 if profile.world.size > 128 else None,
            inversion=profile.inversion,
            profile=profile.name,
            weights={name: sha256(file) for name, file in files if file.is_file()},
        )

    def known(self, editor: str) -> tuple[str, ...]:
        """Attributes that the editor can change, in the order of ATTRIBUTES."""
        index_of(editor, self.editors, "editor")
        names = getattr(self.editors[editor], "attributes", ATTRIBUTES)
        return tuple(name for name in ATTRIBUTES if name in names)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """L and w_dim."""
        return tuple(self.models.ws(self.models.latents(1, seed=0, split="test")).shape[1:])

    @cached_property
    def size(self) -> int:
        """Image side, px."""
        return len(self.original(Source.of_seed(0)).image)

    @property
    def rows(self) -> int:
        """L, the rows of ws."""
        return self.shape[0]

    def z(self, source: Source) -> np.ndarray | None:
        """The latent z [1, z_dim] of a seed; None for a saved or inverted latent."""
        if source.seed is None:
            return None
        return self.models.latents(1, seed=source.seed, split="test").numpy()

    def adopt(self, generator: nn.Module) -> str:
        """Take in a generator that was tuned to a photo; returns the digest by which a source names it.

        Only pictures are drawn by it: the expression lock goes on reading the session's own.
        """
        self.check_room()
        digest = state_hash(generator)
        self._tuned[digest] = replace(self.models, generator=generator)
        return digest

    def check_room(self) -> None:
        """ValueError where no further generator is adopted: each is as large as the session's own."""
        if len(self._tuned) >= MAX_TUNED:
            raise ValueError(
                f"{MAX_TUNED} photos have a generator of their own already; start the notebook again for more"
            )

    def has(self, tuned: str) -> bool:
        """Whether a source with this digest, "" for the session's own generator, can be drawn."""
        return not tuned or tuned in self._tuned

    def _models_of(self, source: Source | None) -> Models:
        return self.models if source is None or not source.tuned else self._tuned[source.tuned]

    def _original(self, source: Source) -> Face:
        z = self.z(source)
        return self.face(source.ws if z is None else self.models.ws(torch.from_numpy(z)), source)

    @torch.inference_mode()
    def picture(self, ws: Tensor, size: int | None = None, source: Source | None = None) -> np.ndarray:
        """G(ws) as uint8 [N, H, W, 3]; `size` stops the generator early, for previews. `source`: whose G."""
        models = self._models_of(source)
        ws = ws.to(models.device)
        if size is not None:
            return to_uint8(models.generator.synthesis(ws, noise="fixed", size=size).float())
        return to_uint8(models.images(ws).float())

    def face(self, ws: Tensor, source: Source | None = None) -> Face:
        """G(ws) of one ws [1, L, w_dim], and R's scores of it; G is that of `source`."""
        ws = ws.to(self.models.device)
        with torch.inference_mode():
            x = self._models_of(source).images(ws).float()
            return Face(ws, to_uint8(x)[0], read(self.models.regressor, x.clamp(-1, 1))[0].cpu().numpy())

    def result(self, state: State, editor: str | None = None, *, stop: Stop = never) -> Face:
        """The state's edits by `editor` (the state's own if None): R's score of every edited attribute is at
        its target and of every held one where it was, or as near as a few corrections come.

        An attribute that the editor does not know is left out. Overtaken if `stop` says so before a picture.
        """
        name = state.editor if editor is None else editor
        edits = (tuple(state.targets.items()), state.held, state.layers, state.expression_lock)
        key = (state.source, name, *edits)
        with self._guard:
            face = self._results.get(key)
        if face is None:
            face = self._result(state, name, stop)
            with self._guard:
                self._results[key] = face
                while len(self._results) > MAX_RESULTS:
                    del self._results[next(iter(self._results))]
        return face

    def _result(self, state: State, name: str, stop: Stop) -> Face:
        original, known = self.original(state.source), self.known(name)
        native = self._native(original, name, state.targets)
        if not native:
            return original
        editor = self._locked(self.editors[name]) if state.expression_lock else self.editors[name]

        def draw(strengths: Mapping[str, float]) -> Face:
            if stop():
                raise Overtaken
            ws = self._compose(editor, original.ws, strengths, state.layers)
            return self.face(ws, state.source)

        held = {a: float(original.scores[attribute_index(a)]) for a in known if a in state.held}
        goals = held | {a: target for a, target in state.targets.items() if a in known}
        face, strengths = solve_strengths(draw, original.scores, goals, native)
        for attribute, strength in native.items():
            if strength:
                self._factors[state.source, name, attribute] = strengths[attribute] / strength
        return face

    def quick(self, state: State, editor: str | None = None) -> Tensor:
        """ws [1, L, w_dim] of a preview: neither corrected, nor held, nor locked.

        Its strengths are the missing scores, times what the last correction of the same edit has found.
        """
        name = state.editor if editor is None else editor
        original = self.original(state.source)
        strengths = {
            attribute: strength * self._factors.get((state.source, name, attribute), 1.0)
            for attribute, strength in self._native(original, name, state.targets).items()
        }
        largest = {
            a: float(np.clip(s, -MAX_PREVIEW_STRENGTH, MAX_PREVIEW_STRENGTH)) for a, s in strengths.items()
        }
        return self._compose(self.editors[name], original.ws, largest, state.layers)

    @torch.no_grad()  # not inference_mode: an expression lock takes gradients of its own
    def _compose(
        self, editor: Editor, ws: Tensor, strengths: Mapping[str, float], layers: tuple[int, int] | None
    ) -> Tensor:
        """The edits one after the other, always in the same order."""
        edited = ws
        for attribute in ATTRIBUTES:
            if attribute in strengths:
                with self._guard:
                    edited = editor.edit(edited, attribute, strengths[attribute])
        return within_layers(ws, edited, layers)

    def _native(self, original: Face, name: str, targets: Mapping[str, float]) -> dict[str, float]:
        """Strengths in the editor's own unit, the missing score."""
        scores, known = torch.from_numpy(original.scores), self.known(name)
        return {
            attribute: float(strength_for(target, scores[attribute_index(attribute)]))
            for attribute, target in targets.items()
            if attribute in known
        }

    def _locked(self, editor: Editor) -> Editor:
        if self.lock_expression is None:
            raise ValueError("landmarks cannot be held here; switch it off")
        return self.lock_expression(editor)

    def check(self, state: State) -> State:
        """The state as this session can show it; ValueError names what does not exist here."""
        for name in state.editors:
            index_of(name, self.editors, "editor")
        if state.layers is not None and state.layers[1] >= self.rows:
            raise ValueError(f"layers {state.layers}: this generator has layers 0 to {self.rows - 1}")
        if state.expression_lock and self.lock_expression is None:
            raise ValueError("landmarks cannot be held in this session")
        ws = state.source.ws
        if ws is not None and ws.shape[1:] != self.shape:
            raise ValueError(
                f"the latent is {list(ws.shape)}, this generator expects {[1, *self.shape]}: "
                "it was made with another generator"
            )
        if not self.has(state.source.tuned):
            raise ValueError("this face is drawn by a generator that was tuned to its photo, and is not here")
        return replace(state, second=None if state.second == state.editor else state.second)


def within_layers(ws: Tensor, edited: Tensor, layers: tuple[int, int] | None) -> Tensor:
    """The edit in rows first to last (inclusive) of ws [N, L, w_dim], the original in the others."""
    if layers is None:
        return edited
    mixed = ws.clone()
    mixed[:, layers[0] : layers[1] + 1] = edited[:, layers[0] : layers[1] + 1]
    return mixed


def offered(profile: Profile) -> tuple[str, ...]:
    """HFLD and the baseline, then every other editor whose file exists."""
    files = {
        name: [of(profile.paths.weights, name) for of in (directions_file, editor_file)] for name in EDITORS
    }
    there = [name for name in EDITORS if any(file.is_file() for file in files[name])]
    return (*ALWAYS_OFFERED, *(name for name in there if name not in ALWAYS_OFFERED))


def _lock_of(profile: Profile, models: Models) -> LockExpression:
    """The lock of the benchmark."""
    return lambda editor: ExpressionLock(editor, models, steps=profile.benchmark.lock_steps)


def _hashes_of(models: Models, editors: Mapping[str, Editor]) -> dict[str, str]:
    """Of the files that networks came from, else of what they hold; editors by their T, if they have one."""
    networks = NETWORKS if models.landmarks is None else (*NETWORKS, "landmarks")
    hashes = {name: models.hashes.get(name) or state_hash(getattr(models, name)) for name in networks}
    matrices = {name: editor.T for name, editor in editors.items() if hasattr(editor, "T")}
    return hashes | {name: sha256(T.detach().cpu().float().numpy()) for name, T in matrices.items()}
