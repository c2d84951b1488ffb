import json

import numpy as np
import pandas as pd
import pytest
from toy_evaluator import toy_editors, toy_evaluator

from hfld.evaluation.evaluator import evaluate, reportable, survey
from hfld.report.summary import read_rows, summary, write_results
from hfld.report.tables import all_tables
from hfld.report.tabular import Block, Cells, Table, latex_text

DATA = "toy world, 8 px"


@pytest.fixture(scope="module")
def results():
    evaluator = toy_evaluator()
    test = evaluator.latents(40, seed=1, split="test")
    validation = evaluator.latents(24, seed=1, split="validation", judged=False)
    editors = toy_editors()
    editors |= {"baseline_w": editors["baseline"], "hfld_w": editors["hfld"]}
    names = ["Bald", "Black_Hair", "Bags_Under_Eyes", "Arched_Eyebrows"]
    rows, matches = evaluate(evaluator, test, editors, names, validation=validation, resamples=100)
    seen = survey(evaluator, test[:12], {"baseline": editors["baseline"]}, attributes=names, resamples=20)
    return rows, matches, (seen, reportable(seen)[1])


@pytest.fixture(scope="module")
def tables(results):
    rows, matches, seen = results
    return all_tables(rows, matches, data=DATA, survey=seen)


def test_every_table_is_there(tables):
    assert list(tables) == [
        *("table2", "table3", "table4", "table5", "table_Bags_Under_Eyes", "table_Arched_Eyebrows"),
        *("headline", "counterfactual", "spaces", "matching", "survey"),
    ]


def test_ratio_table_ranks_and_shows_the_paper(results, tables):
    table = tables["table2"]
    assert [block.title.split()[0] for block in table.blocks] == ["Native", "Matched"]
    grid = table.blocks[0].grid
    assert grid["Baseline"][0].startswith("Bald 1.00 [1.00, 1.00]")
    cells = Cells(results[0])
    first = grid["Baseline"][1].split(" 0")[0].replace(" ", "_")
    ratios = {
        a: cells("native", "Bald", "baseline", f"ratio:{a}").value for a in ("Bangs", "Big_Nose", first)
    }
    assert np.isnan(ratios["Bangs"])  # hidden: not ranked, and said so
    assert ratios[first] >= ratios["Big_Nose"]
    assert any("Bangs" in note and "not scored" in note for note in table.notes)
    column = "Ours for the baseline's (paper, FFHQ photographs)"
    assert grid[column].tolist()[1:3] == ["Straight Hair 0.62", "Young 0.32"]
    assert grid["Baseline (paper, FFHQ photographs)"].tolist()[4] == "Chubby 0.40"
    assert "paper" not in " ".join(tables["table_Bags_Under_Eyes"].blocks[0].grid.columns)


def test_emotion_table_has_the_papers_layout(results, tables):
    table = tables["table5"]
    grid = table.blocks[0].grid
    assert list(grid.columns) == [
        *("", "Bald: Baseline", "Bald: HFLD", "Black Hair: Baseline", "Black Hair: HFLD"),
        *("Bags Under Eyes: Baseline", "Bags Under Eyes: HFLD"),
    ]
    happy = grid.set_index("").loc["Happy"]
    cell = Cells(results[0])("native", "Bald", "baseline", "emotion:happy")
    assert happy["Bald: Baseline"] == cell.text(2)
    paper = grid.set_index("").loc["  Happy (paper, FFHQ photographs)"].tolist()
    assert paper == ["21.36", "16.56", "24.62", "12.47", "-", "-"]
    controls = table.blocks[-1].grid.set_index("")
    assert controls.loc["Happy: No edit", "Bald"].startswith("0.00")
    assert {"Happy: Floor", "Happy: Oracle edit", "Happy: Random direction"} <= set(controls.index)


def test_stars_follow_holm(results, tables):
    cells = Cells(results[0])
    difference = cells("matched", "Bald", "difference", "landmark_drift_px")
    assert difference.significant
    assert difference.text(sign=True).startswith("−")
    grid = tables["headline"].blocks[1].grid.set_index(["Attribute", "Method"])
    text = grid.loc[("Bald", "HFLD − baseline"), "Landmark drift, px"]
    assert text.endswith("*")
    assert grid.loc[("Bald", "No edit"), "Landmark drift, px"] == "0.00 [0.00, 0.00]"


def test_missing_cells_are_said_to_be_missing(results):
    assert Cells(results[0])("native", "Bald", "sefa", "emotion_tvd").text() == "-"


def test_latex_is_escaped_and_square(tables):
    assert latex_text("5_o_Clock & 3 % − ↓") == r"5\_o\_Clock \& 3 \% $-$ $\downarrow$"
    lines = tables["table4"].latex().splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    counts = {line.replace(r"\&", "").count("&") for line in rows}
    assert len(counts) <= 3
    assert lines.count(r"\toprule") == lines.count(r"\bottomrule") == len(tables["table4"].blocks)


def test_markdown_of_a_small_table():
    grid = pd.DataFrame({"a|b": ["x"], "n": [1]})
    text = Table("t", "Title", [Block("part", grid)], grid, ["note"]).markdown()
    assert text == "### Title\n\n**part**\n\n| a\\|b | n |\n| :-- | --: |\n| x | 1 |\n\n*note*\n"


def test_results_on_disk(results, tables, tmp_path):
    rows, matches, _ = results
    write_results(tmp_path, tables, rows, matches, about={"profile": "toy", "latents": 40})
    for name in ("table2", "table5", "headline"):
        for kind in ("csv", "md", "tex"):
            assert (tmp_path / "tables" / f"{name}.{kind}").stat().st_size > 100
    assert not list(tmp_path.rglob("*.tmp"))
    tree = json.loads((tmp_path / "summary.json").read_text())
    assert set(tree) == {"about", "native", "matched", "matching"}
    cell = tree["matched"]["Bald"]["hfld"]["landmark_drift_px"]
    assert set(cell) == {"mean", "lo", "hi", "n", "dropped"}
    assert cell["lo"] <= cell["mean"] <= cell["hi"]
    assert set(tree["matched"]["Bald"]["difference"]["emotion_tvd"]) == {*cell, "p", "p_holm"}
    needed = {"target_change", "emotion_tvd", "label_keep", "counterfactual_landmark_px"}
    for method in ("baseline", "hfld", "random", "none", "oracle"):
        assert needed <= set(tree["native"]["Bald"][method])
    assert tree["matching"]["Bald"]["hfld"]["factor"] == 1.0
    back = read_rows(tmp_path)
    found = back.query("attribute == 'Bald' and method == 'hfld' and quantity == 'landmark_drift_px'")
    assert found.set_index("strength").value["matched"] == pytest.approx(cell["mean"], rel=1e-4)
    with pytest.raises(FileNotFoundError, match="dvc repro"):
        read_rows(tmp_path / "nowhere")


def test_summary_has_no_nan(results):
    text = json.dumps(summary(results[0], results[1]), allow_nan=False)
    assert "ratio:Smiling" in text
    assert "ratio:Young" not in text
