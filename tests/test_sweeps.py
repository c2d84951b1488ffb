from dataclasses import replace

import numpy as np
import pytest
from test_directions import CONFIG
from toy_bench import toy_bench

from hfld.losses import weight_for_pixel
from hfld.sweeps import repeat_over_seeds, spread_over_seeds, sweep_landmark_weight

SHORT = replace(CONFIG, steps=60, lr=0.05, batch=16)
NAMES = ("Attractive", "5_o_Clock_Shadow")


@pytest.fixture(scope="module")
def bench():
    return toy_bench(exact=False)


def test_a_heavier_landmark_term_moves_less(tmp_path, bench):
    validation = bench.latents(16, seed=1, split="validation")
    # H of the toy world follows coordinate 0, which is the shadow's own: the weight stops that edit.
    rows = sweep_landmark_weight(
        SHORT, bench, validation, NAMES, run_dir=tmp_path, per_pixel=(0.0, 1.0, 1000.0), progress=False
    )
    assert set(rows["quantity"]) == {"target_change", "landmark_drift_px", "emotion_tvd"}
    assert set(rows["per_pixel"]) == {0.0, 1.0, 1000.0}
    change = rows[(rows["quantity"] == "target_change") & (rows["attribute"] == "5_o_Clock_Shadow")]
    values = change.set_index("per_pixel")["value"]
    assert values[1000.0] < 0.5 * values[0.0]
    assert (rows["n"] == 16).all()
    np.testing.assert_allclose(rows["weight"], [weight_for_pixel(value) for value in rows["per_pixel"]])


def test_seeds_are_repeated_and_their_spread_is_told(tmp_path, bench):
    test = bench.latents(16, seed=1, split="test")
    validation = bench.latents(8, seed=1, split="validation", judged=False)
    rows = repeat_over_seeds(
        SHORT,
        bench,
        test,
        validation,
        NAMES[:1],
        run_dir=tmp_path,
        seeds=(1, 2),
        resamples=50,
        progress=False,
    )
    assert set(rows["seed"]) == {1, 2}
    spread = spread_over_seeds(rows)
    assert (spread["seeds"] == 2).all()
    assert set(spread["strength"]) == {"native", "matched"}
    one = rows[
        (rows["method"] == "difference")
        & (rows["strength"] == "native")
        & (rows["quantity"] == "landmark_drift_px")
    ]
    told = spread[(spread["strength"] == "native") & (spread["quantity"] == "landmark_drift_px")].iloc[0]
    assert told["least"] == one["value"].min()
    assert told["mean"] == pytest.approx(one["value"].mean())
