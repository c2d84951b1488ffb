"""Trainings in two precisions, compared in a world of toys."""

import pandas as pd
import pytest
from toy_world import CONFIG, toy_models

from tools.precision import curves, differences, ends, picture


def test_seeds_are_compared_in_pairs():
    rows = pd.DataFrame(
        [
            {"precision": precision, "seed": seed, "kind": kind, "step": step, "total": total + shift + seed}
            for precision, shift in (("fp32", 0.0), ("bf16", 0.5))
            for seed in (1, 2, 3)
            for kind in ("training", "validation")
            for step, total in ((10, 9.0), (95, 4.0), (100, 2.0))
        ]
    )
    table = ends(rows)
    assert list(table.columns) == ["fp32", "bf16"]
    assert table.loc[("training", 1)].tolist() == [4.0, 4.5]  # 95 and 100
    assert table.loc[("validation", 3)].tolist() == [5.0, 5.5]  # 100 alone
    told = differences(table).set_index(["kind", "precision"])
    assert told.loc[("validation", "bf16")].tolist() == pytest.approx([4.5, 0.5, 0.0, 1.0])
    assert told.loc[("validation", "fp32"), "difference"] == 0
    assert [line.get_label() for line in picture(rows).axes[0].lines][:2] == ["fp32, seed 1", "fp32, seed 2"]


def test_both_precisions_learn_from_the_same(tmp_path):
    precisions = ("fp32", "tf32", "bf16")  # on a CPU the first two are one
    rows, alike = curves(
        CONFIG, toy_models(), precisions=precisions, seeds=(1, 2), run_dir=tmp_path, progress=False
    )
    assert len(list(tmp_path.iterdir())) == 6
    table = ends(rows)
    assert table["fp32"].equals(table["tf32"].rename("fp32"))
    assert ((table["fp32"] - table["bf16"]).abs() < 0.2 * table["fp32"].abs()).all()
    cosines = alike.pivot(index="seed", columns="precision", values="cosine")
    assert cosines["tf32"].tolist() == pytest.approx([1, 1])
    assert (cosines["bf16"] < 0.999).all()
