"""Edits, judged: native and matched strength, the mandatory rows, and the 40-attribute survey.

    evaluator = Evaluator(models, Judges.load(profile.paths.world), world=PortraitWorld(size=64), size=64)
    test = evaluator.latents(500, seed=1, split="test")
    validation = evaluator.latents(200, seed=1, split="validation", judged=False)
    rows, matches = evaluate(evaluator, test, editors, attributes, validation=validation)

Every image is made once and read once. Oracle is G at the exact counterfactual latent, floor is the
rendered counterfactual, none is the original twice; these three have no strength and stand unscaled beside
both strengths.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from hfld.attributes import ATTRIBUTES, attribute_index
from hfld.config import Profile, load_profile
from hfld.editors import Editor, strength_for
from hfld.evaluation.judges import Context, Judges, Readings, check_independent, read
from hfld.evaluation.matching import Match, match_strengths
from hfld.evaluation.quantities import pair_quantities, pixel_errors
from hfld.evaluation.rows import COMPARISON, finish, rows_of
from hfld.evaluation.stats import resampling_counts
from hfld.images import to_tensor, to_uint8
from hfld.models import Models, autocast
from hfld.portraits.world import PortraitWorld, Truth, world_of

TARGETS = (0.0, 1.0)


@dataclass(frozen=True)
class Latents:
    """N latents with all that is known about the unedited images."""

    z: np.ndarray = field(repr=False)  # [N, z_dim]
    ws: Tensor = field(repr=False)  # [N, L, w_dim]
    scores: Tensor = field(repr=False)  # [N, 40] of the training regressor: where an edit starts from
    images: np.ndarray = field(repr=False)  # [N, H, W, 3] uint8, G(ws)
    readings: Readings | None = field(default=None, repr=False)
    truth: Truth | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, index: int | slice | np.ndarray) -> "Latents":
        """The chosen latents; an int gives a batch of one."""
        index = [index] if isinstance(index, (int, np.integer)) else index
        parts = (self.readings, self.truth)
        readings, truth = (None if part is None else part[index] for part in parts)
        return Latents(self.z[index], self.ws[index], self.scores[index], self.images[index], readings, truth)


@dataclass(frozen=True)
class Evaluator:
    """Generator, regressor and judges of one world, and how to run them."""

    models: Models  # its regressor gives the scores that edits start from, never a table's
    judges: Judges
    size: int  # image side, px
    world: PortraitWorld | None = None  # None: photographs, whose counterfactuals nobody knows
    batch: int = 64
    precision: str = "auto"  # of G and the judges; landmarks and all last layers stay in float32
    progress: bool = True

    @classmethod
    def of(cls, profile: Profile | str) -> "Evaluator":
        """The networks, judges and truth of a profile (or its name)."""
        profile = load_profile(profile) if isinstance(profile, str) else profile
        models = Models.of(profile)
        return cls(
            models,
            Judges.of(profile),
            size=profile.world.size,
            world=world_of(profile),
            batch=models.chunk(64),
            precision=profile.world.precision,
        )

    def __post_init__(self) -> None:
        check_independent(self.judges, self.models.networks())

    @property
    def context(self) -> Context:
        return autocast(self.precision, self.models.device)

    @torch.inference_mode()
    def latents(self, n: int, *, seed: int, split: str, judged: bool = True) -> Latents:
        """n latents of a split; `judged=False` (validation) leaves out the tables' judges and the exact
        truth.
        """
        if n < 1:
            raise ValueError(f"n: {n} latents, expected 1 or more")
        z = self.models.latents(n, seed=seed, split=split)
        ws = self.ws(z)
        truth = self.world.truth(z.numpy()) if judged and self.world is not None else None
        scores, images, readings = [], [], []
        for x in self.images(ws, label=f"{split} images"):
            scores.append(read(self.models.regressor, x, self.context))
            images.append(to_uint8(x))
            if judged:
                readings.append(self.judges.measure(x, self.context))
        joined = Readings.concatenate(readings) if judged else None
        return Latents(z.numpy(), ws, torch.cat(scores), np.concatenate(images), joined, truth)

    def ws(self, z: Tensor | np.ndarray) -> Tensor:
        """z [N, z_dim] -> ws [N, L, w_dim]."""
        return torch.cat([self.models.ws(part) for part in torch.as_tensor(z).split(self.batch)])

    @torch.inference_mode()
    def images(self, ws: Tensor, label: str | None = None) -> Iterator[Tensor]:
        """G(ws) in batches [b, 3, H, W], float32 in [-1, 1], with the fixed noise."""
        batches: Iterable[Tensor] = ws.split(self.batch)
        if label is not None and self.progress:
            batches = tqdm(batches, desc=label, leave=False)
        for part in batches:
            with self.context():
                x = self.models.images(part)
            yield x.float().clamp_(-1, 1)

    @torch.inference_mode()
    def edited(
        self,
        latents: Latents,
        editor: Editor,
        attribute: str,
        target: float | Tensor,  # a number or [N]
        factor: float = 1.0,  # matched strength: the one number that scales every edit of a method
    ) -> Tensor:
        """ws after the edit towards `target`: strength = factor * (target - R(x)_k) [N]."""
        scores = latents.scores[:, attribute_index(attribute)]
        return editor.edit(latents.ws, attribute, strength_for(target, scores, factor))

    def tuned_change(self, latents: Latents, editor: Editor, attribute: str) -> Callable[[float], float]:
        """factor -> signed mean target change between targets 0 and 1, as the *tuning* judge reads it."""
        k = attribute_index(attribute)

        def change(factor: float) -> float:
            means = []
            for target in TARGETS:
                ws = self.edited(latents, editor, attribute, target, factor)
                scores = [read(self.judges.tuning, x, self.context)[:, k] for x in self.images(ws)]
                means.append(torch.cat(scores).mean().item())
            return means[1] - means[0]

        return change

    def judge(self, ws: Tensor) -> tuple[Readings, np.ndarray]:
        """What the judges read in G(ws), and the images [N, H, W, 3] uint8."""
        readings, images = [], []
        for x in self.images(ws):
            readings.append(self.judges.measure(x, self.context))
            images.append(to_uint8(x))
        return Readings.concatenate(readings), np.concatenate(images)

    def judge_rendered(self, exact: Truth) -> Readings:
        """Read rendered images as if the generator had made them."""
        images = to_tensor(exact.images).to(self.models.device)
        return Readings.concatenate([self.judges.measure(x, self.context) for x in images.split(self.batch)])


class Pairs:
    """The readings of x0 and x1 at one attribute, each made once; `at` takes ws at both targets."""

    def __init__(self, evaluator: Evaluator, latents: Latents, attribute: str) -> None:
        self.evaluator, self.latents, self.attribute = evaluator, latents, attribute
        self.truth: tuple[Truth, Truth] | None = None
        if evaluator.world is not None:
            self.counterfactual_z = [evaluator.world.counterfactual(latents.z, attribute, t) for t in TARGETS]
            self.truth = tuple(evaluator.world.truth(z) for z in self.counterfactual_z)

    def quantities(self, zero: Readings, one: Readings, pixels=None) -> dict[str, np.ndarray]:
        """Quantities of a pair against the original's readings."""
        return pair_quantities(
            self.attribute,
            self.latents.readings,
            zero,
            one,
            size=self.evaluator.size,
            truth=self.truth,
            pixels=None if pixels is None else np.stack(pixels, axis=1),
        )

    def at(self, pair_of_ws: Sequence[Tensor]) -> dict[str, np.ndarray]:
        """Quantities of the images at two sets of ws (target 0, target 1)."""
        readings, images = zip(*map(self.evaluator.judge, pair_of_ws), strict=True)
        values = self.quantities(*readings, pixels=self._pixels(images))
        return values | self.further(images, pair_of_ws)

    def further(
        self, images: Sequence[np.ndarray], pair_of_ws: Sequence[Tensor] | None = None
    ) -> dict[str, np.ndarray]:
        """Quantities of a subclass, from x0 and x1, and from their latents where they have any."""
        return {}

    def _pixels(self, images: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        if self.truth is None:
            return None
        known, rendered = self.latents.images, self.latents.truth.images
        return [
            pixel_errors(known, x, rendered, exact.images)
            for x, exact in zip(images, self.truth, strict=True)
        ]

    def edit(self, editor: Editor, factor: float = 1.0) -> dict[str, np.ndarray]:
        """Quantities of an editor's edits."""
        return self.at(
            [
                self.evaluator.edited(self.latents, editor, self.attribute, target, factor)
                for target in TARGETS
            ]
        )

    def fixed(self) -> dict[str, dict[str, np.ndarray]]:
        """The mandatory rows that have no strength: none, and where the truth is known oracle and floor."""
        twice, readings = [self.latents.images] * 2, [self.latents.readings] * 2
        none = self.quantities(*readings, self._pixels(twice)) | self.further(twice, [self.latents.ws] * 2)
        if self.truth is None:
            return {"none": none}
        oracle = [self.evaluator.ws(z) for z in self.counterfactual_z]
        floor = [self.evaluator.judge_rendered(exact) for exact in self.truth]
        exactly = [np.zeros(len(self.latents))] * 2
        drawn = self.further([exact.images for exact in self.truth])
        return {
            "none": none,
            "oracle": self.at(oracle),
            "floor": self.quantities(*floor, pixels=exactly) | drawn,
        }


def evaluate(
    evaluator: Evaluator,
    test: Latents,
    editors: Mapping[str, Editor],  # method -> fitted Editor
    attributes: Sequence[str],
    *,
    validation: Latents | None = None,  # disjoint from `test`; None: native strength only
    reference: tuple[str, str] = COMPARISON,  # the two methods whose weaker one sets the matched change
    comparisons: Mapping[str, tuple[str, str]]
    | None = None,  # further ones, see hfld.evaluation.rows.rows_of
    pairs_of: type[Pairs] | Callable[[Evaluator, Latents, str], Pairs] = Pairs,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy rows (see hfld.evaluation.rows) and the table of matched factors, for all attributes and methods.

    Raises ValueError for unknown attributes and for validation latents that are also test latents.
    """
    for attribute in attributes:
        attribute_index(attribute)
    if test.readings is None:
        raise ValueError("the test latents are not judged; make them with judged=True")
    if validation is not None and len(_common(test.z, validation.z)):
        raise ValueError("validation and test latents overlap; give them different seeds")
    editors = {name: editor for name, editor in editors.items() if name != "none"}  # always there, unedited
    counts = resampling_counts(len(test), resamples=resamples, seed=seed)
    rows: list[dict] = []
    matches: list[Match] = []
    passes = (1 + len(editors)) * (1 if validation is None else 2)
    bar = tqdm(total=len(attributes) * passes, desc="edits", unit="edit", disable=not evaluator.progress)
    for attribute in attributes:
        bar.set_postfix_str(attribute)
        pairs = pairs_of(evaluator, test, attribute)
        fixed = pairs.fixed()
        bar.update()
        native = {}
        for method, editor in editors.items():
            native[method] = pairs.edit(editor)
            bar.update()
        strengths = {"native": native}
        if validation is not None:
            found = match_strengths(
                {
                    name: evaluator.tuned_change(validation, editor, attribute)
                    for name, editor in editors.items()
                },
                attribute=attribute,
                reference=reference,
            )
            matches += found.values()
            bar.update()
            strengths["matched"] = {}
            for method, match in found.items():
                reused = match.factor == 1  # the same images
                edits = native[method] if reused else pairs.edit(editors[method], match.factor)
                strengths["matched"][method] = edits
                bar.update()
        for strength, edits in strengths.items():
            named = {"attribute": attribute, "strength": strength, "counts": counts}
            rows += rows_of(edits | fixed, comparison=reference, further=comparisons, **named)
    bar.close()
    frame = finish(rows)
    return frame, _with_residuals(pd.DataFrame([match.__dict__ for match in matches]), frame, reference)


def survey(
    evaluator: Evaluator,
    latents: Latents,
    editors: Mapping[str, Editor],
    *,
    attributes: Sequence[str] = ATTRIBUTES,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Native rows for all 40 attributes over few latents: the baseline's disturbance against floor and
    oracle.
    """
    return evaluate(evaluator, latents, editors, attributes, resamples=resamples, seed=seed)[0]


def curves(
    evaluator: Evaluator,
    latents: Latents,
    editors: Mapping[str, Editor],
    attributes: Sequence[str],
    *,
    factors: Sequence[float] = (0.5, 1.0, 1.5),
    pairs_of: type[Pairs] | Callable[[Evaluator, Latents, str], Pairs] = Pairs,
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Disturbance against achieved change: rows as `evaluate`, with `factor` in place of `strength`."""
    counts = resampling_counts(len(latents), resamples=resamples, seed=seed)
    rows = []
    for attribute in tqdm(attributes, desc="curves", disable=not evaluator.progress):
        pairs = pairs_of(evaluator, latents, attribute)
        for factor in factors:
            edits = {method: pairs.edit(editor, factor) for method, editor in editors.items()}
            rows += rows_of(edits, attribute=attribute, strength=f"{factor:g}", counts=counts)
        rows += rows_of(pairs.fixed(), attribute=attribute, strength="nan", counts=counts)
    frame = finish(rows).rename(columns={"strength": "factor"})
    return frame.astype({"factor": float})


def reportable(rows: pd.DataFrame, threshold: float = 0.5) -> tuple[list[str], pd.DataFrame]:
    """Attributes that may be reported, and a table (attribute, oracle, lo, hi, reportable, reason).

    A generator that does not draw an attribute cannot be edited honestly: the oracle edit must move the
    independent judge's score by more than `threshold`. Where no oracle exists, nothing is refused.
    """
    oracle = rows[(rows["method"] == "oracle") & (rows["quantity"] == "target_change")]
    oracle = oracle.drop_duplicates("attribute").set_index("attribute")
    table = []
    for attribute in dict.fromkeys(rows["attribute"]):
        if attribute not in oracle.index:
            table.append((attribute, np.nan, np.nan, np.nan, True, "no exact counterfactual in this world"))
            continue
        value, lo, hi = oracle.loc[attribute, ["value", "lo", "hi"]]
        passes = bool(value > threshold)
        reason = (
            f"oracle edit moves the judge by {value:.2f}, {'' if passes else 'not '}more than {threshold:g}"
        )
        table.append((attribute, value, lo, hi, passes, reason))
    frame = pd.DataFrame(table, columns=["attribute", "oracle", "lo", "hi", "reportable", "reason"])
    return frame.loc[frame["reportable"], "attribute"].tolist(), frame


def _common(first: np.ndarray, second: np.ndarray) -> set[bytes]:
    rows = [{row.tobytes() for row in np.ascontiguousarray(z, dtype=np.float32)} for z in (first, second)]
    return rows[0] & rows[1]


def _with_residuals(matches: pd.DataFrame, rows: pd.DataFrame, reference: tuple[str, str]) -> pd.DataFrame:
    """Add the change on test latents and what is left of the mismatch there."""
    if matches.empty:
        return matches
    at = rows[(rows["strength"] == "matched") & (rows["quantity"] == "target_change")]
    reached = at.set_index(["attribute", "method"])["value"]
    keys = list(zip(matches["attribute"], matches["method"], strict=True))
    matches["test"] = [reached[key] for key in keys]
    weaker = matches[matches["method"].isin(reference) & (matches["native"] == matches["goal"])]
    goal = {row.attribute: reached[row.attribute, row.method] for row in weaker.itertuples()}
    matches["test_residual"] = [
        change - goal[attribute] for (attribute, _), change in zip(keys, matches["test"], strict=True)
    ]
    return matches
