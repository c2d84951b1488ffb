"""Is a fitted editor fit for use: its loss, what it moves, what its directions do (more/editors)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from hfld.attributes import ATTRIBUTES
from hfld.config import Profile
from hfld.editors import Editor, GanSpace, InterFaceGan, TrainedEditor
from hfld.editors.unsupervised import UnsupervisedEditor
from hfld.evaluation.evaluator import Evaluator, Latents

FLAT = 0.05
"""A loss is flat if the last fifth of the steps brought no more than this share of its whole fall, and still
falling if it brought more beyond two standard errors."""
FACTORS = (1.0, 0.5, 2.0, 4.0)
"""Strengths that are tried on an editor that moves too little: it may be weak, or past its peak."""


def fitting_profile(profile: Profile) -> Profile:
    """The profile as editors are fitted: those with networks learn the attributes of the tables.

    All forty of T need the references' schedules.
    """
    if profile.editors.schedule == "full":
        return profile
    return replace(profile, directions=replace(profile.directions, attributes=profile.tables.attributes))


def curve(editor: Editor) -> pd.DataFrame:
    """part, step, total, and the terms of a loss. Where nothing is trained: what was found, in place of a
    loss (the share of variance or eigenvalue by direction, the held-out accuracy by attribute).
    """
    if isinstance(editor, TrainedEditor):
        rows = editor.history
    elif isinstance(editor, GanSpace):
        rows = _numbered("share of variance", editor.tensors["variance_ratio"])
    elif isinstance(editor, UnsupervisedEditor):
        values = editor.tensors["eigenvalues"]
        rows = [
            row
            for layers, part in zip(editor.layers, values, strict=True)
            for row in _numbered(f"eigenvalues of rows {layers}", part)
        ]
    elif isinstance(editor, InterFaceGan):
        found = editor.boundaries.values()
        rows = _numbered("held-out accuracy", [boundary.validation_accuracy for boundary in found])
    else:
        rows = []
    return pd.DataFrame(rows, columns=None if rows else ["part", "step", "total"])


def _numbered(part: str, values: Sequence[float]) -> list[dict[str, Any]]:
    return [{"part": part, "step": i, "total": float(value)} for i, value in enumerate(values)]


def watched(editor: Editor) -> pd.DataFrame:
    """part, step, probe, total: the losses by which `flattening` judges (hfld.editors.trained.Watch)."""
    rows = editor.watched if isinstance(editor, TrainedEditor) else []
    return pd.DataFrame(rows, columns=["part", "step", "probe", "total"])


def flattening(losses: pd.DataFrame) -> pd.DataFrame:
    """Rows of `watched` -> per part: gain, what the last fifth of the steps brought, as a share of the whole
    fall (negative where the loss rose again at last; 1 where it is higher than it began), and its standard
    error, that of the mean over probes. A part that begins with networks which were trained alone falls from
    where they were untrained (hfld.editors.trained.UNTRAINED): begun well, it has little left to fall.
    """
    found = {}
    for part, rows in losses.groupby("part", sort=False):
        totals = rows.pivot(index="probe", columns="step", values="total")
        first, before, last = (totals.iloc[:, i] for i in (0, -2, -1))
        fall = (first - last).mean()
        gain = (before - last).mean() / fall if fall > 0 else float(fall < 0)
        error = (before - last).sem() / abs(fall) if fall else np.nan
        found[part] = {"gain": gain, "error": error}
    return pd.DataFrame.from_dict(found, orient="index", columns=["gain", "error"])


def directions_table(editor: Editor, *, most: int = 3) -> pd.DataFrame:
    """What direction i does, on all rows of W+: direction, and its `most` largest changes of scores."""
    if not isinstance(editor, UnsupervisedEditor):
        return pd.DataFrame(columns=["direction", "does"])
    count = editor.tensors["signed"].shape[1]
    does = [
        ", ".join(f"{name} {change:+.2f}" for name, change in editor.describe(i)[:most]) for i in range(count)
    ]
    return pd.DataFrame({"direction": range(count), "does": does})


def labels_table(editor: Editor) -> pd.DataFrame:
    """Attribute -> the direction and the rows that stand for it, with its change and side effect."""
    if not isinstance(editor, UnsupervisedEditor):
        return pd.DataFrame(columns=["attribute", "direction", "layers", "change", "side_effect"])
    rows = [{"attribute": name, **label._asdict()} for name, label in editor.labels.items()]
    return pd.DataFrame(rows)[["attribute", "direction", "layers", "sign", "change", "side_effect"]]


@torch.inference_mode()
def check_targets(
    evaluator: Evaluator,
    validation: Latents,
    editor: Editor,
    attributes: Sequence[str],
    *,
    least: float,  # change of the tuning judge's score between targets 0 and 1
) -> pd.DataFrame:
    """attribute, native, best, factor, regressor, exact, moves, reason: does it move its target?

    `native` and `best` are the tuning judge's signed mean change, at the editor's own strength and at the
    best of FACTORS times it; `regressor` what the scores that it learns from make of the native edit;
    `exact` what the judge makes of the exact edit, where there is one.
    """
    rows = []
    for attribute in attributes:
        change = evaluator.tuned_change(validation, editor, attribute)
        tried = {}
        for factor in FACTORS:
            tried[factor] = change(factor)
            if tried[factor] >= least:
                break
        factor = max(tried, key=tried.__getitem__)
        found = {
            "native": tried[1.0],
            "best": tried[factor],
            "factor": factor,
            "regressor": evaluator.mean_change(
                evaluator.models.regressor,
                evaluator.edit_both_ways(validation, editor, attribute),
                attribute,
            ),
            "exact": _exact_change(evaluator, validation, attribute),
        }
        moves = found["best"] >= least
        rows.append({"attribute": attribute, **found, "moves": moves, "reason": _reason(found, moves, least)})
    return pd.DataFrame(rows)


def _reason(found: dict[str, float], moves: bool, least: float) -> str:
    best, factor = found["best"], found["factor"]
    if moves:
        return "" if factor == 1 else f"at {factor:g} times its own strength"
    if found["exact"] < least:  # False where it is not known
        return (
            f"the generator hardly draws it: the exact edit moves the judge by {found['exact']:.2f}, "
            f"this one by {best:.2f}"
        )
    if found["regressor"] >= least:
        return f"moves the regressor by {found['regressor']:.2f}, an independent judge by {best:.2f} at most"
    return f"too weak: {best:.2f} at most, at {factor:g} times its own strength"


def _exact_change(evaluator: Evaluator, latents: Latents, attribute: str) -> float:
    if evaluator.world is None:
        return float("nan")
    return evaluator.mean_change(evaluator.judges.tuning, evaluator.oracle(latents, attribute), attribute)


def report(method: str, editor: Editor, checks: pd.DataFrame, *, seconds: float) -> dict[str, Any]:
    """Plain values for results/<profile>/editors/<method>.json."""
    losses = watched(editor)
    flat = flattening(losses)
    failing = checks[~checks["moves"]]
    return {
        "method": method,
        "seconds": round(seconds, 1),
        "losses": _plain(losses.groupby(["part", "step"], sort=False)["total"].mean().reset_index()),
        "flattening": _plain(flat.rename_axis("part").reset_index()),
        "flat": bool((flat["gain"] <= FLAT).all()),
        "still_falling": flat.index[flat["gain"] - 1.96 * flat["error"] > FLAT].tolist(),
        "moves": checks.loc[checks["moves"], "attribute"].tolist(),
        "failing": dict(zip(failing["attribute"], failing["reason"], strict=True)),
        "targets": _plain(checks.drop(columns=["moves", "reason"])),
        "directions": _plain(directions_table(editor)),
        "labels": _plain(labels_table(editor)),
    }


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with four digits, unknown as null."""
    return [
        {
            key: (None if value != value else round(value, 4)) if isinstance(value, float) else value
            for key, value in row.items()
        }
        for row in frame.to_dict("records")
    ]


def attributes_of(names: Sequence[str] | str) -> tuple[str, ...]:
    """The section's `attributes`, with "all" spelled out."""
    return ATTRIBUTES if names == "all" else tuple(names)
