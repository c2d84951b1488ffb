"""REPORT.md: the results of one profile as a page, from its files. Every number and judgement is computed."""

import json
import math
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hfld.images import write_text
from hfld.report.tabular import plain

SENTENCES = (
    ("landmark_drift_px", "landmark drift", "px", False),
    ("emotion_tvd", "emotion change", "points", False),
    ("counterfactual_landmark_px", "landmark distance to the exact counterfactual", "px", False),
    ("label_keep", "share of kept emotion labels", "", True),
)
"""quantity, its name, its unit, whether more is better."""

MARKS = ("<!-- results: begin -->", "<!-- results: end -->")
"""Between these two lines of the README stands the overview."""

ASIDE = (
    ("sweep/landmark_weight", "The weight of the landmark term, on validation latents", "more/sweep"),
    ("seeds/spread", "Other training seeds, and twice the steps", "more/seeds"),
)
"""Picture and table (PNG, CSV) of what runs outside the default pipeline, its heading and its notebook."""

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

FIRST = ("headline", "counterfactual", "table1", "table2", "table3", "table4", "table5")
"""Tables in the order of reading; the others follow by name."""


def write_report(results: Path, path: Path, *, title: str = "Results") -> str:
    """Write the page for results/<profile>; links are relative to `path`. Returns the text."""
    text = report(results, base=Path(path).parent, title=title)
    write_text(Path(path), text)
    return text


def report(results: Path, *, base: Path, title: str = "Results") -> str:
    """The page as Markdown. A missing summary is an error that names the command."""
    results = Path(results)
    source = results / "summary.json"
    if not source.is_file():
        raise FileNotFoundError(f"{source} is missing; `dvc repro` (or `make repro`) makes it")
    tree = json.loads(source.read_text(encoding="utf-8"))
    parts = [f"# {title}", _about(tree.get("about", {}))]
    parts += [figure for figure in [_figure(results, base, "figures/headline")] if figure]
    for strength in ("matched", "native"):
        if strength in tree:
            unmatched = _unmatched(tree.get("matching", {})) if strength == "matched" else set()
            parts.append(f"## What the numbers say, {strength} strength")
            parts += [_made_by("03_tables", base), *sentences(tree[strength], unmatched)]
    parts += [text for text in [_matching(tree.get("matching", {}))] if text]
    figures = sorted((results / "figures").glob("*.png"))
    if figures:
        parts += ["## Figures", _made_by("04_figures", base)]
        parts += [_figure(results, base, f"figures/{p.stem}") for p in figures if p.stem != "headline"]
    for stem, heading, notebook in ASIDE:
        if (results / f"{stem}.png").is_file():
            link = _link(results / f"{stem}.csv", base)
            parts += [
                f"## {heading}",
                _made_by(notebook, base),
                _figure(results, base, stem),
                f"([csv]({link}))",
            ]
    page = results / "benchmark" / "README.md"
    if page.is_file():
        parts += [
            "## All editors",
            _made_by("more/benchmark", base),
            f"The benchmark of all editors has [a page of its own]({_link(page, base)}).",
        ]
    parts += ["## Tables", _made_by("03_tables", base)]
    files = {path.stem: path for path in sorted((results / "tables").glob("*.md"))}
    for name in [*(n for n in FIRST if n in files), *(n for n in files if n not in FIRST)]:
        links = [f"[{kind}]({_link(files[name].with_suffix('.' + kind), base)})" for kind in ("csv", "tex")]
        parts += [files[name].read_text(encoding="utf-8").rstrip(), f"({', '.join(links)})"]
    return "\n\n".join(part for part in parts if part) + "\n"


def sentences(tree: dict[str, Any], unmatched: Collection[str] = ()) -> list[str]:
    """What summary[strength] says about HFLD against the baseline: one bullet list per quantity.

    Attributes in `unmatched` are left out of the count, and said to be: their strengths could not be matched.
    """
    parts = []
    for quantity, name, unit, more_is_better in SENTENCES:
        lines, better, worse, compared = [], 0, 0, 0
        for attribute, methods in tree.items():
            difference = methods.get("difference", {}).get(quantity)
            if difference is None or difference["mean"] is None:
                continue
            if attribute in unmatched:
                lines.append(f"- {plain(attribute)}: strengths could not be matched, no comparison.")
                continue
            compared += 1
            sign = difference["mean"] if more_is_better else -difference["mean"]
            sure = difference["p_holm"] is not None and difference["p_holm"] < 0.05
            better += sure and sign > 0
            worse += sure and sign < 0
            lines.append(_line(attribute, methods, quantity, unit, sure))
        if lines:
            undecided = compared - better - worse
            parts.append(
                f"**{name.capitalize()}**: HFLD is better for {better} of {compared} attributes, worse for "
                f"{worse}, undecided for {undecided} (Holm-adjusted p below .05)."
            )
            parts.append("\n".join(lines))
    return parts


def _line(attribute: str, methods: dict[str, Any], quantity: str, unit: str, sure: bool) -> str:
    before, after = (_value(methods[method][quantity]) for method in ("baseline", "hfld"))
    difference = methods["difference"][quantity]
    interval = f"[{_number(difference['lo'])}, {_number(difference['hi'])}]"
    text = f"- {plain(attribute)}: baseline {before}, HFLD {after}{' ' + unit if unit else ''}, difference "
    text += f"{_number(difference['mean'])} {interval}"
    relative = methods.get("relative", {}).get(quantity, {})
    if relative.get("mean") is not None:
        text += f", {relative['mean']:+.0f} %".replace("-", "−")
    p = difference["p_holm"]
    if p is not None:
        text += f", p {'< .001' if p < 0.001 else f'= {p:.3f}'}{'' if sure else ' (undecided)'}"
    for control in ("oracle", "floor"):
        if quantity in methods.get(control, {}):
            text += f"; {control} {_value(methods[control][quantity])}"
    return text + f" (n = {difference['n']})."


def _unmatched(tree: dict[str, Any]) -> set[str]:
    """Attributes at which baseline or HFLD did not reach the common target change."""
    pair = ("baseline", "hfld")
    return {a for a, methods in tree.items() if any(methods[m]["failed"] for m in pair if m in methods)}


def _matching(tree: dict[str, Any]) -> str:
    """How well the strengths were matched, and where they were not."""
    if not tree:
        return ""
    pair = [m for methods in tree.values() for name, m in methods.items() if name in ("baseline", "hfld")]
    left = [abs(m["test_residual"]) for m in pair if m["test_residual"] is not None]
    failed = [
        f"{plain(attribute)}, {name} ({m['reason']})"
        for attribute, methods in tree.items()
        for name, m in methods.items()
        if m["failed"]
    ]
    text = (
        "Strengths were matched on validation latents with the tuning judge. On the test latents the target "
        f"changes of baseline and HFLD differ by at most {max(left, default=math.nan):.3f}."
    )
    return f"{text} Not matched: {'; '.join(failed)}." if failed else text


def _about(about: dict[str, Any]) -> str:
    lines = [f"- {key.replace('_', ' ')}: {_plain_value(value)}" for key, value in about.items()]
    return "\n".join(lines)


def _plain_value(value: Any) -> str:
    return ", ".join(plain(str(part)) for part in value) if isinstance(value, list) else str(value)


def _figure(results: Path, base: Path, stem: str) -> str:
    path = results / f"{stem}.png"
    return f"![{path.stem.replace('_', ' ')}]({_link(path, base)})" if path.is_file() else ""


def _link(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


def _made_by(notebook: str, base: Path) -> str:
    return f"Made by [{notebook}]({_link(NOTEBOOKS / f'{notebook}.ipynb', base)})."


def _value(cell: dict[str, Any]) -> str:
    return _number(cell["mean"])


def _number(value: float | None) -> str:
    """Three significant digits."""
    return "-" if value is None else f"{value:.3g}".replace("-", "−")


def overview(tree: dict[str, Any]) -> str:
    """summary.json -> the README's table: matched strength, one row for each attribute and quantity."""
    unmatched = _unmatched(tree.get("matching", {}))
    lines = [
        "| Edit | Quantity | baseline | HFLD | difference, 95 % interval | oracle | floor | n |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for attribute, methods in tree["matched"].items():
        if attribute in unmatched:
            lines.append(f"| {plain(attribute)} | strengths could not be matched | | | | | | |")
            continue
        for quantity, name, unit, _ in SENTENCES:
            difference = methods["difference"][quantity]
            first, second, oracle, floor = (
                _value(methods[method][quantity]) for method in ("baseline", "hfld", "oracle", "floor")
            )
            change = (
                f"{_number(difference['mean'])} [{_number(difference['lo'])}, {_number(difference['hi'])}]"
            )
            label = f"{name} ({unit})" if unit else name
            row = (plain(attribute), label, first, second, change, oracle, floor, str(difference["n"]))
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def write_overview(results: Path, path: Path) -> None:
    """Put `overview` between the two result marks of the file at `path`; the rest stays."""
    tree = json.loads((Path(results) / "summary.json").read_text(encoding="utf-8"))
    before, found, rest = Path(path).read_text(encoding="utf-8").partition(MARKS[0])
    _, closed, after = rest.partition(MARKS[1])
    if not (found and closed):
        raise ValueError(f"{path} lacks the marks {MARKS[0]} and {MARKS[1]}")
    write_text(Path(path), f"{before}{MARKS[0]}\n{overview(tree)}\n{MARKS[1]}{after}")


def main() -> None:
    """`python -m hfld.report.page <profile>`: REPORT.md, and for the portraits the README's table."""
    from hfld.config import ROOT, load_profile

    profile = load_profile(sys.argv[1])
    write_report(profile.paths.results, ROOT / "REPORT.md", title=f"Results: {profile.name}")
    print(f"wrote {ROOT / 'REPORT.md'}")
    if profile.name == "portraits":
        write_overview(profile.paths.results, ROOT / "README.md")


if __name__ == "__main__":
    main()
