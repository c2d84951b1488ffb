"""The toy world's numbers, measured once, and the files that the tables stage writes of them."""

import functools
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from toy_evaluator import toy_editors, toy_evaluator

from hfld.evaluation.all_editors import add_times, comparisons
from hfld.evaluation.evaluator import curves, evaluate
from hfld.report.summary import write_results
from hfld.report.tables import write_paper_tables

DATA = "toy world, 8 px"
NAMES = ("Bald", "Black_Hair", "Bags_Under_Eyes", "Arched_Eyebrows")


class Results(NamedTuple):
    rows: pd.DataFrame
    matches: pd.DataFrame
    surveyed: pd.DataFrame
    strengths: pd.DataFrame


@functools.cache
def toy_results() -> Results:
    """Of baseline, HFLD, both in W, and a random direction that cannot be matched."""
    evaluator, editors = toy_evaluator(), toy_editors()
    test = evaluator.latents(40, seed=1, split="test")
    validation = evaluator.latents(24, seed=1, split="validation", judged=False)
    surveyed, _ = evaluate(evaluator, test[:12], {"baseline": editors["baseline"]}, NAMES, resamples=20)
    strengths = curves(evaluator, test[:12], editors, NAMES[:1], factors=(0.5, 1.0), resamples=20)
    editors |= {"baseline_w": editors["baseline"], "hfld_w": editors["hfld"]}
    found = evaluate(evaluator, test, editors, NAMES, validation=validation, resamples=100)
    return Results(*found, surveyed, strengths)


@functools.cache
def toy_benchmark() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows with further comparisons and times, and matches."""
    evaluator, editors = toy_evaluator(), toy_editors()
    test = evaluator.latents(24, seed=1, split="test")
    validation = evaluator.latents(16, seed=1, split="validation", judged=False)
    named = {"validation": validation, "comparisons": comparisons(editors), "resamples": 100}
    rows, matches = evaluate(evaluator, test, editors, ("Attractive", "Bald"), **named)
    times = pd.DataFrame({"method": ["hfld"], "value": [3.0], "lo": [2.5], "hi": [9.0], "n": [3]})
    return add_times(rows, times), matches


def write_toy_results(folder: Path) -> None:
    """The files of results/<profile> that the tables stage writes."""
    about = {"data": DATA, "units": "px of these 8 px pictures", "not_reported": "Wearing Hat"}
    write_results(folder, *toy_results(), about=about)
    write_paper_tables(folder)
