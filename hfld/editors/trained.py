"""What editors with networks of their own share: fitting in the one loop, files, and the image losses."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from hfld import checkpoints
from hfld.attributes import ATTRIBUTES, attribute_index, index_of
from hfld.config import read_section
from hfld.editors.base import Bank, as_strengths, read_editor
from hfld.images import sha256
from hfld.losses import landmark_loss
from hfld.models import Models, autocast
from hfld.training.loop import cosine_schedule, run_folder, seconds_taken, train

FIFTHS = 5  # after each of them, and before the first, `Watch` looks at the loss
PROBES = 16  # batches
UNTRAINED = -1  # the step of a look at a part before the parts that it begins with were trained alone


@dataclass(frozen=True, kw_only=True)
class TrainedConfig:
    """Settings that these editors share; 0 as `landmark_weight` leaves the landmark term out."""

    attributes: Literal["all"] | tuple[str, ...] = "all"  # that can be edited
    steps: int = 800
    batch: int = 64  # latents per step
    lr: float = 1.0e-3  # Adam
    schedule: Literal["constant", "cosine"] = "cosine"
    standardise: bool = True  # latents in units of their standard deviation; the references: as they are
    landmark_weight: float = 0.0  # times hfld.losses.landmark_loss of the edited against the original image
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # of the frozen networks
    seed: int = 1


class TrainedEditor:
    """An editor whose networks are fitted to a bank, and which reads the images of the latents it edits.

    It needs `models` to fit and to edit, not to be loaded: `connect` gives them later. An editor that is
    fitted already returns itself from `fit`. Fitting is a function of bank, config and networks alone.
    """

    config_type: ClassVar[type[TrainedConfig]]

    def __init__(
        self,
        config: TrainedConfig | None = None,
        *,
        models: Models | None = None,
        run_dir: Path | None = None,  # checkpoints of interrupted fits, a folder each; None: keep none
        progress: bool = True,
    ) -> None:
        self.config = config or self.config_type()
        self.models, self.run_dir, self.progress = models, run_dir, progress
        self.fitted = False
        self.network: nn.Module | None = None
        self.shape: tuple[int, int] | None = None  # (L, w_dim)
        self.scale = 1.0  # unit of the latents inside the network
        self.history: list[dict[str, Any]] = []  # part, and what `hfld.training.train` logs
        self.watched: list[dict[str, Any]] = []  # part, and the rows of its Watch
        self.seconds = 0.0  # that its trainings took, whichever fit they were first needed for
        self._read: dict[str, tuple[Tensor, Tensor]] = {}  # what -> ws, reading

    @property
    def attributes(self) -> tuple[str, ...]:
        return ATTRIBUTES if self.config.attributes == "all" else self.config.attributes

    @property
    def columns(self) -> list[int]:
        """Positions of the attributes among the 40."""
        return [attribute_index(name) for name in self.attributes]

    def connect(self, models: Models) -> Self:
        """Give a loaded editor the networks that it reads images with."""
        self.models, self._read = models, {}
        if self.network is not None:
            self.network.to(models.device)
        return self

    def fit(self, bank: Bank) -> Self:
        """Train on the bank; see `history`. An interrupted fit continues from `run_dir`."""
        if self.fitted:
            return self
        models = self._require_models()
        if self.config.landmark_weight and models.landmarks is None:
            raise ValueError(
                f"landmark_weight is {self.config.landmark_weight} but there is no landmarks network"
            )
        bank = Bank(ws=bank.ws.to(models.device), scores=bank.scores.to(models.device))
        self._set_up(bank)
        self._train(bank)
        self._finish()
        return self

    def edit(self, ws: Tensor, attribute: str, strength: float | Tensor) -> Tensor:
        """ws [N, L, w_dim] -> ws'; the class says what the strength is. 0 returns ws, negative lowers."""
        k = index_of(attribute, self.attributes, "attribute")
        self._check(ws)
        strength = as_strengths(strength, ws)
        if not strength.any():
            return ws
        with torch.no_grad():
            edited = self._edit(ws, k, strength)
        return torch.where((strength == 0)[:, None, None], ws, edited)

    def save(self, path: Path) -> None:
        """One safetensors file: the networks' tensors, everything else as JSON."""
        if not self.fitted:
            raise ValueError(f"this {type(self).__name__} is not fitted yet: there is nothing to save")
        metadata = {
            "editor": type(self).__name__,
            "config": asdict(self.config),
            "shape": list(self.shape),
            "scale": self.scale,
            "history": self.history,
            "watched": self.watched,
            "seconds": self.seconds,
            "hashes": dict(self.models.hashes) if self.models else {},
        }
        checkpoints.save(path, self.network.state_dict(), metadata)

    @classmethod
    def load(cls, path: Path, *, models: Models | None = None) -> Self:
        """What `save` wrote; ValueError if the file holds another editor."""
        tensors, metadata = read_editor(path, cls.__name__)
        where = f"{path} (make benchmark fits it again), config"
        editor = cls(read_section(cls.config_type, metadata["config"], where=where), models=models)
        editor.shape, editor.scale = tuple(metadata["shape"]), metadata["scale"]
        editor.history, editor.watched = metadata["history"], metadata["watched"]
        editor.seconds = metadata["seconds"]
        editor.network = editor._network(*editor.shape)
        editor.network.load_state_dict(tensors)
        editor._finish()
        return editor if models is None else editor.connect(models)

    def scores(self, ws: Tensor) -> Tensor:
        """R(G(ws)) of this editor's attributes, [N, A]."""
        return self._read_once("scores", ws, lambda ws: self._require_models().score(ws)[:, self.columns])

    def _network(self, rows: int, w_dim: int) -> nn.Module:
        """The untrained network for latents [N, rows, w_dim]."""
        raise NotImplementedError

    def _train(self, bank: Bank) -> None:
        raise NotImplementedError

    def _edit(self, ws: Tensor, k: int, strength: Tensor) -> Tensor:
        """ws' for strengths [N], not all zero, of attribute k."""
        raise NotImplementedError

    def _finish(self) -> None:
        self.network.eval().requires_grad_(False)
        self.fitted = True

    def _generator(self, i: int) -> torch.Generator:
        """The randomness of step i."""
        return torch.Generator().manual_seed(self.config.seed * 1_000_003 + i)

    def _set_up(self, bank: Bank) -> None:
        self.shape = tuple(bank.ws.shape[1:])
        self.history, self.watched, self.seconds = [], [], 0.0
        if self.config.standardise:
            self.scale = float(bank.ws.flatten(0, 1).std(dim=0).square().mean().sqrt())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self.network = self._network(*self.shape).to(bank.ws.device)

    def _read_once(self, what: str, ws: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
        """read(ws), remembered for the last ws: many strengths are tried on the same one."""
        last = self._read.get(what)
        if last is None or last[0].shape != ws.shape or not torch.equal(last[0], ws):
            self._read[what] = last = (ws.clone(), read(ws))
        return last[1]

    def _require_models(self) -> Models:
        if self.models is None:
            raise ValueError(
                f"{type(self).__name__} reads images of the latents: give it models, or connect(models)"
            )
        return self.models

    def _check(self, ws: Tensor) -> None:
        if not self.fitted:
            raise ValueError(f"this {type(self).__name__} is not fitted yet: call fit(bank) or load(path)")
        if ws.ndim != 3 or tuple(ws.shape[1:]) != self.shape:
            raise ValueError(f"ws must be [N, {self.shape[0]}, {self.shape[1]}], not {tuple(ws.shape)}")

    def _loop(
        self,
        part: str,
        module: nn.Module,
        step: Callable[[int], Mapping[str, Tensor]],
        *,
        bank: Bank,
        steps: int,
        lr: float,
        shared: bool = False,  # without the landmark term: trained once for the methods with and without it
    ) -> None:
        """Train `module` with Adam; `step` gives weighted terms and is a function of its number alone."""
        fingerprint = {
            "editor": type(self).__name__,
            "part": part,
            "config": asdict(replace(self.config, landmark_weight=0.0) if shared else self.config),
            "hashes": dict(self._require_models().hashes),
            "bank": sha256(bank.ws.cpu().numpy(), bank.scores.cpu().numpy()),
        }
        watch = Watch(step, module, steps)
        folder = tempfile.TemporaryDirectory() if self.run_dir is None else nullcontext(self.run_dir)
        with folder as root:
            run_dir = run_folder(root, fingerprint, code=(type(self), TrainedEditor, landmark_loss))
            history = train(
                step=watch.step,
                optimizer=torch.optim.Adam(module.parameters(), lr=lr),
                state={part: module, "watch": watch},
                steps=steps,
                run_dir=run_dir,
                fingerprint=fingerprint,
                schedule=cosine_schedule(steps) if self.config.schedule == "cosine" else None,
                after=watch.after,
                log_every=max(1, steps // 50),
                save_every=max(1, steps // 10),
                progress=self.progress,
                name=f"{type(self).__name__} {part}",
            )
            self.seconds += seconds_taken(run_dir)
        self.history += [{"part": part, **row} for row in history]
        self.watched += [{"part": part, **row} for row in watch.rows]

    def _images(self, ws: Tensor) -> Tensor:
        with autocast(self.config.precision, self._require_models().device)():
            return self._require_models().images(ws)

    def _landmark_term(self, images: Tensor, edited: Tensor) -> Tensor:
        """landmark_weight * L_h, one value per image; the originals' landmarks are constant."""
        models = self._require_models()
        with autocast(self.config.precision, models.device)():
            with torch.no_grad():
                target = models.points(images)
            pred = models.points(edited)
        return self.config.landmark_weight * landmark_loss(pred, target)


class Watch:
    """The loss on the same latents with the same random numbers, before training and after every fifth of it.

    Those of steps beyond the last. Unlike the training log it does not scatter from one time to the next.
    """

    def __init__(self, step: Callable[[int], Mapping[str, Tensor]], module: nn.Module, steps: int) -> None:
        self.rows: list[dict[str, float]] = []  # step, probe, total
        self._step, self._module, self._steps = step, module, steps
        self._times = {round(steps * fifth / FIFTHS) for fifth in range(1, FIFTHS + 1)}

    def step(self, i: int) -> Mapping[str, Tensor]:
        """The step i itself, with a look before the first."""
        if i == 0:
            self.measure(0)
        return self._step(i)

    def after(self, i: int) -> None:
        if i + 1 in self._times:
            self.measure(i + 1)

    def measure(self, done: int) -> None:
        """Look at the loss now, after `done` steps."""
        kept = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
        for probe in range(PROBES):
            terms = self._step(self._steps + probe)
            total = sum(term.mean().item() for term in terms.values())
            self.rows.append({"step": done, "probe": probe, "total": total})
        with torch.no_grad():  # batch normalization counted the probes
            for name, buffer in self._module.named_buffers():
                buffer.copy_(kept[name])

    def state_dict(self) -> dict[str, str]:
        return {"rows": json.dumps(self.rows)}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        self.rows = json.loads(state["rows"])


def distinct_rows(ws: Tensor) -> Tensor:
    """ws [N, L, w_dim], or its first row [N, 1, w_dim] where all rows are alike (latents of W)."""
    first = ws[:, :1]
    return first if torch.equal(ws, first.expand_as(ws)) else ws


def retarget(condition: Tensor, generator: torch.Generator) -> Tensor:
    """Conditions [N, A] with one random attribute of each replaced by U(0, 1), without gradients."""
    chosen = torch.randint(condition.shape[1], (len(condition), 1), generator=generator)
    value = torch.rand(len(condition), 1, generator=generator)
    return condition.detach().scatter(1, chosen.to(condition.device), value.to(condition))
