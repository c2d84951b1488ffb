import json

import numpy as np
import pandas as pd
import pytest
from toy_results import DATA, toy_results, write_toy_results

from hfld.report.labels import end, quantity_name
from hfld.report.summary import csv_tables, read_csv, summary
from hfld.report.tables import headline_table, paper_tables
from hfld.report.tabular import Cell, Cells, Table, number, without_empty


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("results")
    write_toy_results(path)
    return path


@pytest.fixture(scope="module")
def tables(folder):
    return paper_tables(folder)


def test_five_tables_are_for_reading_and_the_rest_for_computing(folder):
    names = {"table2", "table3", "table4", "table5"}  # Male, of Table I, is no attribute of the toy world
    further = {"table_Bags_Under_Eyes", "table_Arched_Eyebrows", "counterfactual", "spaces"}
    further |= {"rows", "matching", "survey", "curves"}
    found = {
        kind: {path.stem for path in (folder / "tables").glob(f"*.{kind}")} for kind in ("csv", "md", "tex")
    }
    assert found == {
        "csv": names | further | {"headline"},
        "md": names | {"headline"},
        "tex": names | {"headline"},
    }
    assert all(path.stat().st_size > 100 for path in (folder / "tables").iterdir())
    assert not list(folder.rglob("*.tmp"))


def test_csvs_hold_the_rows_that_their_names_say():
    rows = toy_results().rows
    found = csv_tables(rows)
    assert set(found["table2"]["attribute"]) == {"Bald"}
    assert found["table2"]["quantity"].str.startswith("ratio:").all()
    assert {"random", "oracle", "floor", "difference"} <= set(found["table2"]["method"])
    assert set(found["table4"]["quantity"]) == {
        "ratio:Smiling",
        "ratio:Mouth_Slightly_Open",
        "ratio:Narrow_Eyes",
    }
    assert set(found["spaces"]["method"]) == {"baseline", "baseline_w", "hfld", "hfld_w"}
    assert {"counterfactual_pixel", "counterfactual_landmark_px:mouth"} <= set(
        found["counterfactual"]["quantity"]
    )
    pd.testing.assert_frame_equal(found["headline"], rows.loc[found["headline"].index])


def test_side_effects_are_ranked_beside_the_papers_numbers(folder, tables):
    grid = tables["table2"].grid
    assert list(grid.columns) == [
        *("Strength", "Attribute", "Baseline", "HFLD", "Random direction", "Oracle edit", "Floor"),
        *("Paper: baseline", "Paper: HFLD"),
    ]
    native = grid[grid["Strength"] == "native"].set_index("Attribute")
    assert native["Baseline"].iloc[0] == "1.00 [1.00, 1.00]"
    cells = Cells(read_csv(folder, "table2"))
    order = [
        cells("native", "Bald", "baseline", f"ratio:{n.replace(' ', '_')}").value for n in native.index[1:]
    ]
    assert order == sorted(order, reverse=True)
    assert "Bangs" not in native.index  # hidden: not ranked, and said so
    assert "not scored: Bangs" in tables["table2"].note
    assert tables["table2"].note.startswith(f"{DATA}; n = ")


def test_the_papers_numbers_stand_beside_the_same_attribute(folder, tmp_path):
    rows = read_csv(folder, "table2")
    (tmp_path / "tables").mkdir()
    (tmp_path / "summary.json").write_text((folder / "summary.json").read_text())
    chubby, brown = (
        rows[rows["quantity"] == "ratio:Big_Nose"].assign(quantity=f"ratio:{n}")
        for n in ("Chubby", "Brown_Hair")
    )
    chubby.loc[chubby["method"] == "baseline", "paper"] = 0.4
    chubby.loc[chubby["method"] == "hfld", "paper"] = 0.31
    brown.loc[brown["method"] == "hfld", "paper"] = 0.42  # listed for HFLD only
    small = pd.concat([chubby, brown]).assign(value=1e-3)
    pd.concat([rows, small]).to_csv(tmp_path / "tables" / "table2.csv", index=False)
    grid = paper_tables(tmp_path)["table2"].grid.set_index(["Strength", "Attribute"])
    columns = ["Paper: baseline", "Paper: HFLD"]
    assert grid.loc[("matched", "Chubby"), columns].tolist() == ["0.40", "0.31"]
    assert grid.loc[("native", "Brown Hair"), columns].tolist() == ["-", "0.42"]


def test_emotions_of_every_edit_at_both_strengths(tables):
    grid = tables["table5"].grid
    assert grid["Edit"].unique().tolist() == ["Bald", "Black Hair", "Bags Under Eyes", "Arched Eyebrows"]
    assert len(grid) == 2 * 4 * 8
    cell = Cells(toy_results().rows)("native", "Bald", "baseline", "emotion:happy")
    line = grid.set_index(["Strength", "Edit", "Emotion"]).loc[("native", "Bald", "Happy")]
    assert line["Baseline"] == cell.text()
    assert line[["Paper: baseline", "Paper: HFLD"]].tolist() == ["21.36", "16.56"]
    assert line["No edit"] == "0 [0, 0]"
    assert "No edit" not in tables["table4"].grid  # has no ratio


def test_a_star_follows_holm_and_never_stands_at_zero(folder, tables):
    cells = Cells(toy_results().rows)
    difference = cells("matched", "Bald", "difference", "landmark_drift_px")
    assert difference.significant
    grid = headline_table(folder).grid.set_index(["Edit", "Quantity"])
    text = grid.loc[("Bald", "Landmark drift, px"), "HFLD − baseline"]
    assert text.startswith("−") and text.endswith("*")
    sure = cells("native", "Bald", "difference", "emotion_tvd").significant
    line = tables["table5"].grid.set_index(["Strength", "Edit", "Emotion"])
    text = line.loc[("native", "Bald", "Emotion change, percentage points"), "HFLD"]
    assert text.endswith("*") == sure
    assert (
        Cell(-0.00004321, -0.00006, -0.00002, 9, 0, 0.01, np.nan).text()
        == "−0.0000432 [−0.0000600, −0.0000200]*"
    )


def test_numbers_have_three_significant_digits():
    numbers = {
        0.0338: "0.0338",
        -12.54: "−12.5",
        0.97: "0.970",
        1: "1.00",
        1234.5: "1230",
        0: "0",
        5e-5: "0.0000500",
    }
    assert {value: number(value) for value in numbers} == numbers
    assert number(0.9996) == "1.00"
    assert number(np.nan) == number(None) == "-"
    assert Cells(toy_results().rows)("native", "Bald", "sefa", "emotion_tvd").text() == "-"


def test_the_headline_agrees_with_the_summary(folder):
    tree = json.loads((folder / "summary.json").read_text())["matched"]
    grid = headline_table(folder).grid.set_index(["Edit", "Quantity"])
    assert len(grid) == 4 * 4
    line = grid.loc[("Bald", "Emotion change, percentage points")]
    for method, column in (
        ("baseline", "Baseline"),
        ("hfld", "HFLD"),
        ("oracle", "Oracle edit"),
        ("floor", "Floor"),
    ):
        assert line[column] == number(tree["Bald"][method]["emotion_tvd"]["mean"])
    assert line["n"] == str(tree["Bald"]["difference"]["emotion_tvd"]["n"])


def test_the_headline_leaves_out_what_could_not_be_matched(folder, tmp_path):
    write_toy_results(tmp_path)
    matches = read_csv(tmp_path, "matching")
    matches.loc[(matches["attribute"] == "Bald") & (matches["method"] == "hfld"), "test_residual"] = 0.06
    matches.to_csv(tmp_path / "tables" / "matching.csv", index=False)
    grid = headline_table(tmp_path).grid
    assert grid[grid["Edit"] == "Bald"]["Quantity"].tolist() == ["strengths could not be matched"]
    assert len(grid) == 1 + 3 * 4


def test_pandas_writes_markdown_and_latex(tables):
    table = Table(
        "Title", without_empty(pd.DataFrame({"a": ["0.970"], "b_c": ["5 %"], "none": ["-"]})), "A note."
    )
    assert table.markdown().splitlines()[0] == "### Title"
    assert [part.strip() for part in table.markdown().splitlines()[4].strip("|").split("|")] == [
        "0.970",
        "5 %",
    ]
    assert table.markdown().endswith("\n\nA note.\n")
    assert r"a & b\_c \\" in table.latex()
    assert r"0.970 & 5 \% \\" in table.latex()
    lines = tables["table4"].latex().splitlines()
    assert {line.count("&") for line in lines if line.endswith(r"\\")} == {
        len(tables["table4"].grid.columns) - 1
    }


def test_summary_has_the_promised_cells(folder):
    tree = json.loads((folder / "summary.json").read_text())
    assert set(tree) == {"about", "native", "matched", "matching"}
    cell = tree["matched"]["Bald"]["hfld"]["landmark_drift_px"]
    assert set(cell) == {"mean", "lo", "hi", "n", "dropped"}
    assert cell["lo"] <= cell["mean"] <= cell["hi"]
    assert set(tree["matched"]["Bald"]["difference"]["emotion_tvd"]) == {*cell, "p", "p_holm"}
    needed = {"target_change", "emotion_tvd", "label_keep", "counterfactual_landmark_px"}
    for method in ("baseline", "hfld", "random", "none", "oracle"):
        assert needed <= set(tree["native"]["Bald"][method])
    assert tree["matching"]["Bald"]["hfld"]["factor"] == 1.0
    back = read_csv(folder)
    found = back.query("attribute == 'Bald' and method == 'hfld' and quantity == 'landmark_drift_px'")
    assert found.set_index("strength").value["matched"] == pytest.approx(cell["mean"], rel=1e-4)
    with pytest.raises(FileNotFoundError, match="dvc repro"):
        read_csv(folder / "nowhere")


def test_rows_keep_the_ratios_of_baseline_and_hfld_only(folder):
    rows = read_csv(folder)
    ratios = rows[rows["quantity"].str.startswith("ratio")]
    assert set(ratios["method"]) == {"baseline", "hfld", "difference"}
    assert not rows["quantity"].str.startswith(("signed:", "change:")).any()


def test_summary_has_no_nan():
    text = json.dumps(summary(toy_results().rows, toy_results().matches), allow_nan=False)
    assert "ratio:Smiling" in text
    assert "ratio:Young" not in text


def test_words_for_both_ends_of_an_attribute():
    assert [end("Male", target) for target in (0.0, 1.0)] == ["female", "male"]
    assert [end("Bald", target) for target in (0.0, 1.0)] == ["with hair", "bald"]
    assert [end("Black_Hair", 0.0), end("Wearing_Hat", 0.0), end("Wearing_Hat", 1.0)] == [
        "not black hair",
        "no hat",
        "hat",
    ]
    assert quantity_name("landmark_nme:mouth") == "mouth"
    assert quantity_name("ratio:Big_Nose") == "Big Nose"
