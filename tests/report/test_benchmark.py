"""The benchmark's tables and page on the toy world, and who wins a comparison."""

import json

import numpy as np
import pandas as pd
import pytest
from toy_results import toy_benchmark, toy_results

from hfld.report.benchmark import (
    CURVES,
    benchmark_rows,
    benchmark_tables,
    caption,
    findings,
    side_effects,
    verdict_grid,
    write_benchmark,
)
from hfld.report.comparisons import count_verdicts, sides, summarize_verdicts
from hfld.report.tabular import Cells

EDITORS = ("baseline", "hfld", "random")


@pytest.fixture(scope="module")
def rows():
    return benchmark_rows(toy_benchmark()[0], EDITORS)


def test_the_rows_hold_every_group_once():
    measured = toy_benchmark()[0]
    mouth = measured[measured["quantity"] == "landmark_nme"].assign(quantity="landmark_nme:mouth")
    rows = benchmark_rows(pd.concat([measured, mouth]), EDITORS)
    found = set(rows["quantity"])
    assert {"landmark_nme:mouth", "ratio:Smiling", "emotion:happy"} <= found
    assert {"counterfactual_pixel", "edit_ms", *side_effects(Cells(measured), "Bald")} <= found
    assert {"difference", "hfld - random", "floor", "oracle", "none"} <= set(rows["method"])
    assert not rows.duplicated(["strength", "attribute", "method", "quantity"]).any()


def test_the_benchmark_is_written(rows, tmp_path):
    matches, strengths = toy_benchmark()[1], toy_results().strengths
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "label_keep.png").touch()
    summary = write_benchmark(tmp_path, rows, matches, strengths, about={"data": "toys"})
    for name in ("benchmark.csv", "benchmark.md", "benchmark.tex", "matching.csv", "curves.csv"):
        assert (tmp_path / name).stat().st_size > 0
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert summary["matched"]["Bald"]["hfld"]["edit_ms"]["mean"] == 3.0
    assert summary["about"]["findings"] == findings(rows, matches)
    assert "p_holm" in summary["matched"]["Bald"]["hfld - random"]["emotion_tvd"]
    page = (tmp_path / "README.md").read_text()
    assert "toys" in page
    assert all(line in page for line in findings(rows, matches))
    assert "Emotion label kept against the achieved change of the target; higher is better." in page
    known = set(strengths["quantity"]) & {"target_change", *CURVES}
    assert set(pd.read_csv(tmp_path / "curves.csv")["quantity"]) == known


def test_methods_that_were_not_matched_are_marked(rows):
    reached = toy_benchmark()[1].assign(failed=False, test_residual=0.0)
    off = (reached["attribute"] == "Bald") & (reached["method"] == "random")
    effects, won = benchmark_tables(rows, reached.assign(test_residual=0.06 * off), data="toy")
    shown = effects.grid[effects.grid["Method"].str.contains("†")]
    assert shown[["Strength", "Edit", "Method"]].values.tolist() == [
        ["matched", "Bald", "random direction †"]
    ]
    assert "†: not at the common change" in effects.note
    pair = won.grid.set_index(["Strength", "Comparison"])["Landmark NME, %"]
    assert [
        sum(int(part[1:]) for part in pair[s, "HFLD against random direction"].split())
        for s in ("native", "matched")
    ] == [2, 1]
    everywhere = benchmark_tables(rows, reached, data="toy")
    assert not any("†" in table.markdown() for table in everywhere)


def test_side_effects_are_the_baselines_largest():
    cells = Cells(toy_benchmark()[0])
    found = side_effects(cells, "Bald", k=3)
    values = [cells("matched", "Bald", "baseline", name).value for name in found]
    assert len(found) == 3
    assert values == sorted(values, reverse=True)
    assert "ratio:Bald" not in found


def test_verdicts_count_attributes_and_know_which_way_is_better():
    def row(method, quantity, attribute, value, p):
        return {"strength": "matched", "method": method, "quantity": quantity, "attribute": attribute,
                "value": value, "p": p, "p_holm": p}  # fmt: skip

    rows = pd.DataFrame(
        [
            row("hfld - x", "emotion_tvd", "Male", -1.0, 0.01),
            row("hfld - x", "emotion_tvd", "Bald", -1.0, 0.5),
            row("hfld - x", "emotion_tvd", "Young", 1.0, 0.01),
            row("hfld - x", "label_keep", "Male", -0.1, 0.01),
            row("x", "label_keep", "Male", 0.9, np.nan),
        ]
    )
    # An attribute at which either side did not reach the common change is no comparison.
    matches = pd.DataFrame(
        {"attribute": ["Young", "Male", "Bald"], "method": ["x", "y", "x"], "reason": ["weak", "far", "near"]}
    ).assign(failed=True, goal=0.3, validation=[0.1, 0.6, 0.31], test_residual=0.0)
    apart = matches.iloc[2:].assign(failed=False, reason="", test_residual=-0.06)  # matched, but not on test

    def counts(strength, matches):
        return count_verdicts(rows, strength, matches, ("emotion_tvd", "label_keep"))

    for strength, found, expected in (
        ("matched", matches.iloc[:0], ["+1 −1 =1", "+0 −1 =0"]),
        ("matched", matches, ["+1 −0 =1", "+0 −1 =0"]),
        ("native", matches, ["-", "-"]),
        ("matched", apart, ["+1 −1 =0", "+0 −1 =0"]),
    ):
        (line,) = verdict_grid(counts(strength, found)).to_dict("records")
        assert list(line.values()) == ["HFLD against x", *expected]
    said = summarize_verdicts(counts("matched", apart), apart)
    assert said[1:] == ["Bald, x: not matched; -0.060 off on test latents."]
    said = summarize_verdicts(counts("matched", matches), matches)
    assert said == [
        "HFLD against x: better in 1, worse in 1, undecided in 1 of 3 cells; worse in emotion label kept.",
        "Young, x: not matched; weak.",
        "Male, y: not matched; far.",
    ]
    assert sides("difference") == ("baseline", "hfld")


def test_a_caption_says_which_way_is_better():
    assert caption("emotion_tvd") == (
        "Emotion change, percentage points against the achieved change of the target; lower is better."
    )
    higher = {name for name in CURVES if "higher is better" in caption(name)}
    kept = {"label_keep", "identity_cosine", "preservation", "latent_log_likelihood"}
    assert higher == kept | {"counterfactual_label_keep"}
    assert "Figures 5 and 6" in caption("figure6")
