import pytest
from toy_results import toy_results, write_toy_results

from hfld.report.page import FIGURES, count_sentences, report
from hfld.report.summary import read_csv
from hfld.report.tables import headline_table


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "results" / "toy"
    write_toy_results(path)
    return path


def test_the_page_says_what_the_files_say(folder, tmp_path):
    (folder / "figures").mkdir()
    (folder / "figures" / "figure1.png").touch()
    text = report(folder, base=tmp_path)
    assert text.startswith("# Results: toy\n")
    assert "Wearing Hat" in text  # not reported
    for line in headline_table(folder).markdown().splitlines():
        assert line in text
    assert f"{FIGURES['figures/figure1']}\n\n![figure1](results/toy/figures/figure1.png)" in text
    assert "![figure3]" not in text
    assert "[csv](results/toy/tables/table5.csv)" in text
    assert "[tables/spaces.csv](results/toy/tables/spaces.csv)" in text
    assert "[tables/table_Bags_Under_Eyes.csv](results/toy/tables/table_Bags_Under_Eyes.csv)" in text
    assert text.index("## What was found") < text.index("### Table II") < text.index("### Table V:")
    assert "native |" not in text  # in short: matched strength
    assert len(text.splitlines()) <= 200


def test_the_page_shows_what_runs_outside_the_pipeline(folder, tmp_path):
    assert "benchmark" not in report(folder, base=tmp_path)
    for name in ("sweep/landmark_weight.png", "sweep/landmark_weight.csv", "benchmark/README.md"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    text = report(folder, base=tmp_path)
    assert "![landmark_weight](results/toy/sweep/landmark_weight.png)" in text
    assert "[sweep/landmark_weight.csv](results/toy/sweep/landmark_weight.csv)" in text
    assert "[benchmark/README.md](results/toy/benchmark/README.md)" in text


def test_a_missing_summary_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="make repro"):
        report(tmp_path, base=tmp_path)


def test_better_worse_and_undecided_are_counted(folder):
    rows = read_csv(folder)
    drift = (
        (rows["method"] == "difference")
        & (rows["quantity"] == "landmark_drift_px")
        & (rows["strength"] == "matched")
    )
    for attribute, value, p in (("Bald", 1.0, 0.001), ("Black_Hair", 1.0, 0.4)):
        rows.loc[drift & (rows["attribute"] == attribute), ["value", "p_holm"]] = value, p
    rows.to_csv(folder / "tables" / "rows.csv", index=False)
    said = count_sentences(folder)
    assert said[0].startswith(
        "**Landmark drift, px**: at matched strength HFLD is better than the baseline for 2 of 4 edits, "
        "worse for 1, undecided for 1; at native strength for 4, 0 and 0."
    )
    matches = toy_results().matches.assign(test_residual=0.0, failed=False)
    matches.loc[(matches["attribute"] == "Bald") & (matches["method"] == "baseline"), "test_residual"] = 0.06
    matches.to_csv(folder / "tables" / "matching.csv", index=False)
    assert "for 2 of 3 edits, worse for 0, undecided for 1;" in count_sentences(folder)[0]


def test_figures_have_captions_of_one_sentence():
    assert all(caption.endswith(".") and len(caption) < 100 for caption in FIGURES.values())
