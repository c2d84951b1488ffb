"""REPORT.md: the results of one profile on a page, from its files. Every number and judgement is computed."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from hfld.config import ROOT, load_profile
from hfld.images import write_text
from hfld.report.comparisons import count_verdicts
from hfld.report.labels import CONTROLS, DEFINITIONS, heading, plain
from hfld.report.summary import DISTURBANCES, read_csv
from hfld.report.tables import headline_table, paper_tables
from hfld.report.tabular import Table

FIGURES = {
    "figures/headline": "What the edits disturb at equal change of the attribute; nearer to zero is better.",
    "figures/curves": "Emotion change against the achieved change of the attribute; lower is better.",
    "figures/figure1": "Figure 1 of the paper: one expression under many appearances, edited with HFLD.",
    "figures/figure3": "Figure 3: what the landmark network sees.",
    "figures/figure4": "Figure 4: edits from one end to the other, without and with the landmark loss.",
    "figures/changes": "Where the pictures change; blue in the last column: HFLD changes less.",
    "figures/survey": "What the baseline disturbs with every attribute, beside the floor.",
    "sweep/landmark_weight": "What the weight of the landmark loss buys and costs, on validation latents.",
    "seeds/spread": "The difference that HFLD makes in every training: other seeds, and twice the steps.",
}
"""Pictures in the order of reading, and what each shows."""
CSVS = {
    "tables/rows": "every estimate with its interval, n and p: strength, attribute, method, quantity",
    "tables/headline": "all methods, and the controls",
    "tables/counterfactual": "distance to the exact counterfactual, landmarks by region too",
    "tables/spaces": "directions in W beside W+",
    "tables/matching": "the factors of matched strength, and what is left of the mismatch",
    "tables/survey": "what the baseline disturbs with every attribute, on validation latents",
    "tables/curves": "disturbance over strengths",
    "sweep/landmark_weight": "the weight of the landmark term",
    "seeds/spread": "other training seeds, and twice the steps",
}
"""Further tables, and what each holds."""
SHORT = {"table1": 5, "table2": 5, "table3": 5, "table4": 9, "table5": 24}
"""Lines of each of the paper's tables on the page; its own edits come first."""


def report(results: Path, *, base: Path) -> str:
    """The page of results/<profile> as Markdown, with links relative to `base`."""
    source = results / "summary.json"
    if not source.is_file():
        raise FileNotFoundError(f"{source} is missing; `dvc repro` (or `make repro`) makes it")
    about = json.loads(source.read_text(encoding="utf-8"))["about"]
    parts = [
        f"# Results: {results.name}",
        f"Data: {about['data']}. Units: {about['units']}. Edits that the generator draws too badly to report "
        f"them: {about['not_reported']}. Every number comes from a file that is linked to below.",
        "## What was found",
        "\n".join(f"- {line}" for line in count_sentences(results)),
        headline_table(results).markdown().rstrip(),
        DEFINITIONS,
        "## The paper's tables, in short",
        "At matched strength, beside the paper's numbers (FFHQ photographs). All methods at both strengths: "
        f"follow the links. {_made_by('03_tables', base)}",
    ]
    for name, table in paper_tables(results).items():
        files = ((kind, results / "tables" / f"{name}.{kind}") for kind in ("md", "csv", "tex"))
        links = ", ".join(_link(kind, path, base) for kind, path in files)
        parts += [shorten(table, SHORT[name]).markdown().rstrip(), f"All of it: {links}."]
    parts += ["## Figures", _made_by("04_figures", base)]
    for stem, caption in FIGURES.items():
        if (results / f"{stem}.png").is_file():
            parts.append(f"{caption}\n\n!{_link(Path(stem).name, results / f'{stem}.png', base)}")
    parts += ["## Everything else", "\n".join(_further(results, base))]
    return "\n\n".join(parts) + "\n"


def count_sentences(results: Path) -> list[str]:
    """A sentence per quantity: for how many edits HFLD is better than the baseline, worse, undecided."""
    rows, matches = read_csv(results), read_csv(results, "matching")
    matched, native = (
        count_verdicts(rows, strength, matches, DISTURBANCES) for strength in ("matched", "native")
    )
    return [
        f"**{heading(one.quantity)}**: at matched strength HFLD is better than the "
        f"baseline for {one.won} of {edits} edits, worse for {one.lost}, undecided for {one.undecided}; at "
        f"native strength for {two.won}, {two.lost} and {two.undecided}."
        for one, two in zip(matched.itertuples(), native.itertuples(), strict=True)
        if (edits := one.won + one.lost + one.undecided)  # no counterfactual of a photograph
    ]


def shorten(table: Table, lines: int) -> Table:
    """The first lines of a paper's table at matched strength: baseline, HFLD, floor and the paper."""
    grid = table.grid[table.grid["Strength"] == table.grid["Strength"].iloc[-1]].head(lines)
    left_out = ["Strength", *(heading(name) for name in CONTROLS if name != "floor")]
    return replace(table, grid=grid.drop(columns=left_out, errors="ignore"), note="")


def _further(results: Path, base: Path) -> list[str]:
    """A line per CSV, and the benchmark's own page."""
    files = {results / f"{stem}.csv": about for stem, about in CSVS.items()}
    for path in sorted((results / "tables").glob("table_*.csv")):
        files[path] = f"what changes with {plain(path.stem.removeprefix('table_'))}, as Tables I-III"
    files[results / "benchmark" / "README.md"] = "all editors in one benchmark: a page of its own"
    return [
        f"- {_link(path.relative_to(results).as_posix(), path, base)}: {about}"
        for path, about in files.items()
        if path.is_file()
    ]


def _made_by(notebook: str, base: Path) -> str:
    return f"Made by {_link(notebook, ROOT / 'notebooks' / f'{notebook}.ipynb', base)}."


def _link(text: str, path: Path, base: Path) -> str:
    return f"[{text}]({Path(os.path.relpath(path, base)).as_posix()})"


def main() -> None:
    """`python -m hfld.report.page <profile>` writes REPORT.md."""
    profile = load_profile(sys.argv[1])
    write_text(ROOT / "REPORT.md", report(profile.paths.results, base=ROOT))


if __name__ == "__main__":
    main()
