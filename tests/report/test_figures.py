from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from toy_evaluator import toy_editors, toy_evaluator

from hfld.attributes import ATTRIBUTES, EMOTIONS
from hfld.evaluation.evaluator import curves, evaluate
from hfld.evaluation.judges import Readings
from hfld.report import figures, plots
from hfld.report.gallery import (
    NOSE_TIP,
    appearances,
    best_drawn,
    change_maps,
    choose_faces,
    edit_faces,
    trajectories,
)

RANDOM = np.random.default_rng(0)


def faces(n):
    return RANDOM.integers(0, 255, size=(n, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def evaluator():
    return toy_evaluator()


@pytest.fixture(scope="module")
def test_latents(evaluator):
    return evaluator.latents(24, seed=1, split="test")


@pytest.fixture(scope="module")
def results(evaluator, test_latents):
    validation = evaluator.latents(16, seed=1, split="validation", judged=False)
    names = ["Bald", "Black_Hair"]
    return evaluate(evaluator, test_latents, toy_editors(), names, validation=validation, resamples=50)


def shown(figure):
    """Titles and texts of a figure."""
    texts = [figure.get_suptitle()]
    for ax in figure.axes:
        texts += [ax.get_title(), ax.get_ylabel(), *(text.get_text() for text in ax.texts)]
    return texts


def test_figure1_puts_every_appearance_on_the_ring():
    images = faces(13)
    figure = figures.figure1(images[0], list(images[1:]), [f"look {i}" for i in range(12)])
    pictures = [ax.images[0].get_array() for ax in figure.axes]
    assert len(pictures) == 13
    assert np.array_equal(pictures[0], images[0])
    assert np.array_equal(pictures[12], images[12])
    assert len({ax.get_subplotspec().num1 for ax in figure.axes[1:]}) == 12
    assert not any(
        ax.get_subplotspec().colspan.start in (1, 2) and ax.get_subplotspec().rowspan.start in (1, 2)
        for ax in figure.axes[1:]
    )
    with pytest.raises(ValueError, match="as many labels as images"):
        figures.figure1(images[0], list(images), ["one"])


def test_figure3_draws_landmarks_on_their_pixels():
    points = np.full((1, 106, 2), 0.5)
    figure = figures.figure3(faces(1), points, points + 0.1, title="106 landmarks")
    ax = figure.axes[0]
    assert np.allclose(ax.collections[0].get_offsets(), 3.5)  # the middle of 8 pixels lies between 3 and 4
    line = ax.lines[0].get_xydata()
    assert np.allclose(line, [[3.5, 3.5], [4.3, 4.3]])
    assert len(ax.lines) == 106


def test_figure4_has_two_rows_a_face_and_the_original_leftmost(evaluator, test_latents):
    targets = [0.0, 0.5, 1.0]
    editors = {name: toy_editors()[name] for name in ("baseline", "hfld")}
    rows = trajectories(evaluator, test_latents, editors, ["Bald", "Black_Hair"], targets, factors={})
    figure = figures.figure4(rows, targets)
    assert len(figure.axes) == 4 * 4
    assert np.array_equal(figure.axes[4].images[0].get_array(), test_latents.images[0])
    assert not np.array_equal(rows[0]["baseline"][0], rows[0]["baseline"][2])
    labels = shown(figure)
    assert {"baseline", "HFLD", "with hair\n0", "bald\n1", "not black hair\n0", "0.5"} <= set(labels)
    with pytest.raises(ValueError, match="3 images for 2 targets"):
        figures.figure4(rows, targets[:2])


def test_appearances_compose_edits(evaluator, test_latents):
    editor = toy_editors()["hfld"]
    both = {"Bald": 1.0, "Black_Hair": 0.0}
    images, labels = appearances(evaluator, test_latents, editor, [{"Bald": 1.0}, both])
    assert labels == ["bald", "bald + not black hair"]
    alone = evaluator.edit(test_latents[:1], editor, "Bald", 1.0)
    from hfld.report.gallery import pictures

    assert np.array_equal(images[0], pictures(evaluator, alone)[0])
    assert not np.array_equal(images[0], images[1])


def test_change_maps(evaluator, test_latents):
    editors = {name: toy_editors()[name] for name in ("baseline", "hfld")}
    weak = change_maps(evaluator, test_latents, editors, ["Bald"], factors={("Bald", "baseline"): 0.1})[
        "Bald"
    ]
    full = change_maps(evaluator, test_latents, editors, ["Bald"], factors={})["Bald"]
    assert set(full) == {"baseline", "hfld", "oracle"}
    assert full["baseline"].shape == (8, 8)
    assert weak["baseline"].mean() < 0.2 * full["baseline"].mean()
    figure = figures.change_maps({"Bald": full})
    assert {"baseline", "HFLD", "oracle edit", "HFLD − baseline", "Bald"} <= set(shown(figure))
    (difference,) = (ax for ax in figure.axes if ax.get_title() == "HFLD − baseline")
    np.testing.assert_allclose(difference.images[0].get_array(), full["hfld"] - full["baseline"])


def test_saved_figures_are_equal_files(tmp_path):
    images, labels = faces(2), {"row_labels": ["row"], "column_labels": ["a", "b"]}
    first, second = (
        figures.save(figures.contact_sheet([images], title="t", **labels), path).read_bytes()
        for path in (tmp_path / "deep" / "one.png", tmp_path / "two.png")
    )
    assert first == second
    assert first[:4] == b"\x89PNG"
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_palette_makes_a_drawing_smaller_and_keeps_its_look(tmp_path):
    figure = Figure(figsize=(4, 3))
    figure.subplots().plot(np.arange(9), RANDOM.random(9))
    full, small = (Image.open(figures.save(figure, tmp_path / f"{n}.png", colours=n)) for n in (None, 64))
    assert (tmp_path / "64.png").stat().st_size < 0.6 * (tmp_path / "None.png").stat().st_size
    difference = np.asarray(full.convert("RGB"), int) - np.asarray(small.convert("RGB"), int)
    assert np.abs(difference).mean() < 1
    assert np.abs(difference).max() < 64


def test_no_pyplot_is_needed():
    assert not any("pyplot." in Path(module.__file__).read_text() for module in (figures, plots))
    assert not any(hasattr(module, "plt") for module in (figures, plots))


def test_every_training_is_shown_beside_their_mean():
    keys = {"strength": "matched", "quantity": "emotion_tvd"}
    rows = pd.DataFrame(
        [
            keys
            | {"attribute": a, "method": m, "variant": v, "value": value, "lo": value - 1, "hi": value + 2}
            for a in ("Bald", "Male")
            for m in ("difference", "baseline")
            for v, value in (("seed 1", 1.0), ("seed 2", 3.0))
        ]
    )
    means = pd.DataFrame(
        [keys | {"attribute": a, "mean": 2.0, "lo": 0.5, "hi": 4.0} for a in ("Bald", "Male")]
    )
    figure = plots.training_spread(rows, means)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    values = [container.lines[0].get_xdata().tolist() for container in ax.containers]
    assert values == [[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]]
    assert ax.get_xlabel() == "emotion change, percentage points: HFLD − baseline"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Bald", "Male"]


def test_curves_and_plots_draw(evaluator, test_latents, results):
    rows, _ = results
    sweep = pd.DataFrame({"per_pixel": [0.0, 10, 1000], "value": [0.9, 0.8, 0.1]})
    sweep = sweep.assign(quantity="target_change", attribute="Bald", lo=sweep.value, hi=sweep.value)
    survey = pd.DataFrame(
        [
            {"attribute": a, "method": m, "quantity": q, "value": RANDOM.random()}
            for a in ATTRIBUTES
            for m in ("baseline", "floor")
            for q in ("landmark_drift_px", "emotion_tvd")
        ]
    )
    strengths = curves(evaluator, test_latents, toy_editors(), ["Bald"], factors=(0.5, 1.0), resamples=20)
    drawn = {
        "headline": plots.headline(rows),
        "survey": plots.survey(survey),
        "sweep": plots.lambda_sweep(sweep, chosen=10),
        "disturbance": plots.disturbance_curves(strengths),
    }
    for figure in drawn.values():
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()
    ends = drawn["sweep"].axes[0].lines[0].get_xdata()
    assert ends[0] == 1.0  # weight 0 stands one decade left of the smallest
    values = drawn["headline"].axes[0].containers[0].lines[0].get_xdata()
    baseline = "method == 'baseline' and quantity == 'landmark_drift_px'"
    expected = rows.query(f"strength == 'matched' and {baseline}")
    assert np.allclose(values, expected.value)
    order = [label.get_text() for label in drawn["survey"].axes[0].get_yticklabels()]
    drift = survey.query(baseline).set_index("attribute").value
    assert order[-1] == drift.idxmax().replace("_", " ")


def test_the_best_drawn_come_first_and_blurry_ones_last(evaluator):
    latents = evaluator.latents(4, seed=3, split="test")
    images = np.zeros_like(latents.truth.images)
    labels = np.zeros((4, len(ATTRIBUTES)), dtype=bool)
    labels[2, ATTRIBUTES.index("Blurry")] = True
    far = np.array([30, 20, 0, 10], dtype=np.uint8).reshape(4, 1, 1, 1)  # from the portraits
    known = replace(latents, images=images + far, truth=replace(latents.truth, images=images, labels=labels))
    for count in (4, 2):
        np.testing.assert_array_equal(best_drawn(known, count).z, latents.z[[3, 1, 0, 2]][:count])
    np.testing.assert_array_equal(best_drawn(replace(known, truth=None), 2).z, latents.z[:2])


def test_faces_are_chosen_by_the_rule():
    landmarks = np.tile(np.random.default_rng(0).random((1, 106, 2)), (6, 1, 1))
    landmarks[:, 66], landmarks[:, 79], landmarks[:, NOSE_TIP] = (0.3, 0.5), (0.7, 0.5), (0.5, 0.6)
    landmarks[4, NOSE_TIP, 0], landmarks[2, NOSE_TIP, 0] = 0.4, 0.65
    emotions = np.zeros((6, 7))
    emotions[4, EMOTIONS.index("happy")] = 99  # taken already as the head turned left
    emotions[5, EMOTIONS.index("happy")] = 90
    emotions[0, EMOTIONS.index("surprise")] = 80
    readings = Readings(np.zeros((6, 40)), emotions, landmarks, np.zeros((6, 2)))
    chosen, rules = choose_faces(readings, 4)
    assert chosen == [4, 2, 5, 0]
    assert rules == ["head left", "head right", "happy", "surprise"]
    everyone, _ = choose_faces(readings, 6)
    assert sorted(everyone) == list(range(6))
    with pytest.raises(ValueError, match="count must be from 1 to 6, not 7"):
        choose_faces(readings, 7)


def test_faces_go_to_the_other_side(evaluator, test_latents):
    faces, editors = test_latents[:5], toy_editors()
    made = edit_faces(evaluator, faces, editors, "Bald", factors={("Bald", "hfld"): 0.0})
    assert list(made) == ["original", *editors]
    assert np.array_equal(made["original"], faces.images)
    assert np.array_equal(made["hfld"], faces.images)  # factor 0: not moved
    target = (faces.scores[:, 4] < 0.5).float()
    expected = evaluator.edit(faces, editors["baseline"], "Bald", target)
    assert np.array_equal(made["baseline"], evaluator.judge(expected)[1])
