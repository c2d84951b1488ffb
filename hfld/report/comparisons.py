"""Who wins a comparison of two methods, and where they did not reach the same change to be compared at."""

from collections.abc import Iterable

import pandas as pd

from hfld.evaluation.rows import COMPARISON
from hfld.report.labels import MORE_IS_BETTER, method_name, plain, quantity_name

SAME_ON_VALIDATION = 0.02
"""Changes of a score that count as the same there, although the search wanted them closer."""
SAME_ON_TEST = 0.05
"""Changes of a score that count as the same on test latents, read by another judge."""


def sides(comparison: str) -> tuple[str, str]:
    """(first, second) of a comparison's name."""
    if comparison == "difference":
        return COMPARISON
    second, first = comparison.split(" - ")
    return first, second


def comparison_names(rows: pd.DataFrame) -> list[str]:
    """The comparisons in the rows: what has p values."""
    return list(rows.loc[rows["p"].notna(), "method"].unique())


def select_missed(matches: pd.DataFrame) -> pd.DataFrame:
    """Matches that failed, whose reference does not move the target, or that differ on test latents."""
    off = (matches["validation"] - matches["goal"]).abs() > SAME_ON_VALIDATION
    failed = matches["failed"] & (off | (matches["goal"] <= SAME_ON_VALIDATION))
    return matches[failed | (matches["test_residual"].abs() > SAME_ON_TEST)]


def find_unmatched(matches: pd.DataFrame) -> set[tuple[str, str]]:
    """(attribute, method) that did not reach the common change."""
    missed = select_missed(matches)
    return set(zip(missed["attribute"], missed["method"], strict=True))


def count_verdicts(
    rows: pd.DataFrame, strength: str, matches: pd.DataFrame, quantities: Iterable[str]
) -> pd.DataFrame:
    """comparison, quantity -> numbers of attributes that its second method won, lost, undecided (Holm's p).

    At matched strength an attribute counts only where both methods reached the same change.
    """
    missed = find_unmatched(matches) if strength == "matched" else set()
    part = rows[(rows["strength"] == strength) & rows["p_holm"].notna()]
    found = []
    for name in comparison_names(rows):
        own = part[part["method"] == name]
        fair = [
            not any((attribute, side) in missed for side in sides(name)) for attribute in own["attribute"]
        ]
        own = own[pd.Series(fair, index=own.index, dtype=bool)]
        for quantity in quantities:
            cells = own[own["quantity"] == quantity]
            gain = cells["value"] * (1 if quantity in MORE_IS_BETTER else -1)
            sure = cells["p_holm"] < 0.05
            won, lost = int((sure & (gain > 0)).sum()), int((sure & (gain < 0)).sum())
            found.append((name, quantity, won, lost, len(cells) - won - lost))
    return pd.DataFrame(found, columns=["comparison", "quantity", "won", "lost", "undecided"])


def summarize_verdicts(counts: pd.DataFrame, matches: pd.DataFrame) -> list[str]:
    """A sentence per comparison of `count_verdicts` at matched strength, and one per missed match."""
    said = []
    for name, own in counts.groupby("comparison", sort=False):
        first, second = map(method_name, sides(name))
        won, lost, undecided = (int(own[column].sum()) for column in ("won", "lost", "undecided"))
        if not won + lost + undecided:
            said.append(f"{second} against {first}: nowhere at the same change, no comparison.")
            continue
        worse = "; ".join(quantity_name(row.quantity) for row in own.itertuples() if row.lost)
        said.append(
            f"{second} against {first}: better in {won}, worse in {lost}, undecided in {undecided} of "
            f"{won + lost + undecided} cells" + (f"; worse in {worse}." if worse else ".")
        )
    for row in select_missed(matches).itertuples():
        why = row.reason or f"{row.test_residual:+.3f} off on test latents"
        said.append(f"{plain(row.attribute)}, {method_name(row.method)}: not matched; {why}.")
    return said
