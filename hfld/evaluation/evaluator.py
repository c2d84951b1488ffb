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
from torch import Tensor, nn
from tqdm import tqdm

from hfld.attributes import attribute_index
from hfld.config import Profile
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

    def __getitem__(self, index: slice | Sequence[int]) -> "Latents":
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
    def of(cls, profile: Profile) -> "Evaluator":
        """The networks, judges and truth of a profile."""
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
        for part in self.progress_bar(ws.split(self.batch), label):
            with self.context():
                x = self.models.images(part)
            yield x.float().clamp_(-1, 1)

    def progress_bar(self, items: Iterable, label: str | None) -> Iterable:
        """The items, counted on a bar of that label while they are used."""
        return tqdm(items, desc=label, leave=False, disable=label is None or not self.progress)

    @torch.inference_mode()
    def edit(
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

    def edit_both_ways(
        self, latents: Latents, editor: Editor, attribute: str, factor: float = 1.0
    ) -> list[Tensor]:
        """ws after the edits to target 0 and to target 1."""
        return [self.edit(latents, editor, attribute, target, factor) for target in TARGETS]

    def oracle(self, latents: Latents, attribute: str) -> list[Tensor]:
        """ws of the exact counterfactuals at 0 and 1, in a world that knows them."""
        return [self.ws(self.world.counterfactual(latents.z, attribute, target)) for target in TARGETS]

    def mean_change(self, network: nn.Module, pair_of_ws: Sequence[Tensor], attribute: str) -> float:
        """By how much a network's mean score of the attribute rises from the first ws to the second."""
        k = attribute_index(attribute)
        first, second = (
            torch.cat([read(network, x, self.context)[:, k] for x in self.images(ws)]).mean().item()
            for ws in pair_of_ws
        )
        return second - first

    def tuned_change(self, latents: Latents, editor: Editor, attribute: str) -> Callable[[float], float]:
        """factor -> signed mean target change between targets 0 and 1, as the *tuning* judge reads it."""

        def change(factor: float) -> float:
            pair = self.edit_both_ways(latents, editor, attribute, factor)
            return self.mean_change(self.judges.tuning, pair, attribute)

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


Measure = Callable[
    ["Pairs", Mapping[str, np.ndarray], Sequence[np.ndarray], Sequence[Tensor] | None],
    Mapping[str, np.ndarray],
]
"""(pairs, quantities so far, images x0 and x1, their ws if they have any) -> further quantities, [N] each."""


class Pairs:
    """The readings of x0 and x1 at one attribute, each made once."""

    def __init__(
        self, evaluator: Evaluator, latents: Latents, attribute: str, measure: Measure | None = None
    ) -> None:
        self.evaluator, self.latents, self.attribute, self.measure = evaluator, latents, attribute, measure
        self.truth: tuple[Truth, Truth] | None = None
        if evaluator.world is not None:
            exact = [evaluator.world.counterfactual(latents.z, attribute, target) for target in TARGETS]
            self.truth = tuple(evaluator.world.truth(z) for z in exact)

    def edit(self, editor: Editor, factor: float = 1.0) -> dict[str, np.ndarray]:
        """Quantities of an editor's edits."""
        return self.at(self.evaluator.edit_both_ways(self.latents, editor, self.attribute, factor))

    def at(self, pair_of_ws: Sequence[Tensor]) -> dict[str, np.ndarray]:
        """Quantities of the images at two sets of ws (target 0, target 1)."""
        readings, images = zip(*map(self.evaluator.judge, pair_of_ws), strict=True)
        return self.quantities(readings, images, pair_of_ws, self._pixels(images))

    def fixed(self) -> dict[str, dict[str, np.ndarray]]:
        """The mandatory rows that have no strength: none, and where the truth is known oracle and floor."""
        same = self.latents
        twice = [same.images] * 2
        none = self.quantities([same.readings] * 2, twice, [same.ws] * 2, self._pixels(twice))
        if self.truth is None:
            return {"none": none}
        readings = [self.evaluator.judge_rendered(exact) for exact in self.truth]
        drawn, exactly = [exact.images for exact in self.truth], [np.zeros(len(same))] * 2
        return {
            "none": none,
            "oracle": self.at(self.evaluator.oracle(same, self.attribute)),
            "floor": self.quantities(readings, drawn, None, exactly),
        }

    def quantities(
        self,
        readings: Sequence[Readings],  # of x0 and x1, as all that follows
        images: Sequence[np.ndarray],
        pair_of_ws: Sequence[Tensor] | None,  # None: rendered, without latents
        pixels: Sequence[np.ndarray] | None,
    ) -> dict[str, np.ndarray]:
        """Quantities of a pair against the original's readings, and those of `measure`."""
        values = pair_quantities(
            self.attribute,
            self.latents.readings,
            *readings,
            size=self.evaluator.size,
            truth=self.truth,
            pixels=None if pixels is None else np.stack(pixels, axis=1),
        )
        return values if self.measure is None else values | self.measure(self, values, images, pair_of_ws)

    def _pixels(self, images: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        if self.truth is None:
            return None
        known, rendered = self.latents.images, self.latents.truth.images
        return [
            pixel_errors(known, x, rendered, exact.images)
            for x, exact in zip(images, self.truth, strict=True)
        ]


def evaluate(
    evaluator: Evaluator,
    test: Latents,
    editors: Mapping[str, Editor],  # method -> fitted Editor
    attributes: Sequence[str],
    *,
    validation: Latents | None = None,  # disjoint from `test`; None: native strength only
    reference: tuple[str, str] = COMPARISON,  # the two methods whose weaker one sets the matched change
    comparisons: Mapping[str, tuple[str, str]] | None = None,  # further ones, see `rows_of`
    measure: Measure | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy rows (see hfld.evaluation.rows) and the table of matched factors, for all attributes and methods.

    Raises ValueError for unknown attributes and for validation latents that are also test latents.
    """
    _check(test, validation, attributes)
    editors = {name: editor for name, editor in editors.items() if name != "none"}  # always there, unedited
    counts = resampling_counts(len(test), resamples=resamples, seed=seed)
    rows: list[dict] = []
    matches: list[Match] = []
    for attribute in attributes:
        pairs = Pairs(evaluator, test, attribute, measure)
        fixed = pairs.fixed()
        counted = evaluator.progress_bar(editors.items(), f"{attribute}, native")
        strengths = {"native": {method: pairs.edit(editor) for method, editor in counted}}
        if validation is not None:
            found = match_strengths(
                {name: evaluator.tuned_change(validation, one, attribute) for name, one in editors.items()},
                attribute=attribute,
                reference=reference,
            )
            matches += found.values()
            counted = evaluator.progress_bar(found.items(), f"{attribute}, matched")
            strengths["matched"] = {
                method: strengths["native"][method]  # the same images
                if match.factor == 1
                else pairs.edit(editors[method], match.factor)
                for method, match in counted
            }
        for strength, edits in strengths.items():
            named = {"attribute": attribute, "strength": strength, "counts": counts}
            rows += rows_of(edits | fixed, comparison=reference, further=comparisons, **named)
    frame = finish(rows)
    return frame, _with_residuals(pd.DataFrame([match.__dict__ for match in matches]), frame, reference)


def curves(
    evaluator: Evaluator,
    latents: Latents,
    editors: Mapping[str, Editor],
    attributes: Sequence[str],
    *,
    factors: Sequence[float] = (0.5, 1.0, 1.5),
    measure: Measure | None = None,
    resamples: int = 500,
) -> pd.DataFrame:
    """Disturbance against achieved change: rows as `evaluate`, with `factor` in place of `strength`."""
    counts = resampling_counts(len(latents), resamples=resamples)
    rows = []
    for attribute in evaluator.progress_bar(attributes, "curves"):
        pairs = Pairs(evaluator, latents, attribute, measure)
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
    oracle = oracle.drop_duplicates("attribute").set_index("attribute")[["value", "lo", "hi"]]
    table = oracle.reindex(rows["attribute"].drop_duplicates()).rename(columns={"value": "oracle"})
    table["reportable"] = ~(table["oracle"] <= threshold)  # also where there is no oracle
    table["reason"] = [
        "no exact counterfactual in this world"
        if np.isnan(value)
        else f"oracle edit moves the judge by {value:.2f}, {'' if passes else 'not '}more than {threshold:g}"
        for value, passes in zip(table["oracle"], table["reportable"], strict=True)
    ]
    return table.index[table["reportable"]].tolist(), table.reset_index()


def _check(test: Latents, validation: Latents | None, attributes: Sequence[str]) -> None:
    for attribute in attributes:
        attribute_index(attribute)
    if test.readings is None:
        raise ValueError("the test latents are not judged; make them with judged=True")
    known = {z.tobytes() for z in test.z}
    if validation is not None and any(z.tobytes() in known for z in validation.z):
        raise ValueError("validation and test latents overlap; give them different seeds")


def _with_residuals(matches: pd.DataFrame, rows: pd.DataFrame, reference: tuple[str, str]) -> pd.DataFrame:
    """Add the change on test latents and what is left of the mismatch there."""
    if matches.empty:
        return matches
    at = rows[(rows["strength"] == "matched") & (rows["quantity"] == "target_change")]
    reached = at[["attribute", "method", "value"]].rename(columns={"value": "test"})
    matches = matches.merge(reached, how="left", on=["attribute", "method"], validate="one_to_one")
    weaker = matches[matches["method"].isin(reference) & (matches["native"] == matches["goal"])]
    goal = weaker.drop_duplicates("attribute", keep="last").set_index("attribute")["test"]
    return matches.assign(test_residual=matches["test"] - matches["attribute"].map(goal))
