import numpy as np
import pytest

from hfld.attributes import ATTRIBUTES, EMOTIONS, REGIONS
from pretrain.card import model_card
from pretrain.gates import attribute_aucs, emotion_recalls, gates, landmark_errors


def test_invisible_labels_are_not_scored():
    labels = np.tile([[True], [False], [True]], (1, 40))
    scores = np.tile([[0.9], [0.1], [0.0]], (1, 40))  # the third is wrong
    visible = np.ones((3, 40), bool)
    assert attribute_aucs(scores, labels, visible)[0] == 0.5
    visible[2] = False
    assert (attribute_aucs(scores, labels, visible) == 1).all()


def test_recalls_are_those_of_the_strongest_emotion():
    true, read = np.eye(7)[[0, 0, 0, 3]] * 100, np.eye(7)[[0, 0, 1, 6]]
    recall = emotion_recalls(read, true)
    assert recall[0] == pytest.approx(2 / 3)
    assert recall[3] == 0
    assert np.isnan(recall[1])


def test_landmark_errors_are_in_pixels_at_128():
    true = np.zeros((2, 106, 2))
    assert np.allclose(landmark_errors(true + [3 / 128, 4 / 128], true), 5)


def scores(level):
    readers = ("judge_attributes", "judge_attributes_tuning", "regressor")
    each = dict.fromkeys(ATTRIBUTES, level)
    return {
        "n": 10,
        **{name: {"mean": level, "worst": level, "each": each} for name in readers},
        "emotion": {"balanced_accuracy": level, "recall": dict.fromkeys(EMOTIONS, level), "distance": 5.0},
        "landmarks": {"mean": 1 - level, "p95": 1.0, "regions": dict.fromkeys(REGIONS, 0.5)},
        "identity": {"face_width": 0.9},
        "pixels": 1.0,
    }


def card(judge, generated):
    both = {"natural": scores(judge), "independent": scores(judge)}
    result = {
        "size": 64,
        "renders": both,
        "generated": scores(generated),
        "identity_verification_auc": 0.9,
        "networks": {},
    }
    return {**result, "gates": gates(result)}


def test_gates_pass_and_fail_where_they_should():
    assert all(row["passed"] for row in card(0.98, 0.96)["gates"])
    failed = [row["gate"] for row in card(0.98, 0.89)["gates"] if not row["passed"]]
    assert failed == [
        "attribute AUC lost from render to G(z), mean",
        "attribute AUC lost from render to G(z), worst",
        "balanced emotion accuracy lost from render to G(z)",
    ]
    assert any("renders" in row["gate"] for row in card(0.8, 0.8)["gates"] if not row["passed"])


def test_the_card_says_how_the_generator_was_trained():
    facts = {"arguments": {"size": 64}, "network": "Generator", "bytes": 1, "pairs": 4000, "minutes": 24.0}
    facts |= {"images_seen": 64_000, "steps": 2000}
    pages = [
        model_card({**card(0.98, 0.96), "networks": {"generator": {**facts, "phase": phase}}})
        for phase in ("paired", "adversarial")
    ]
    assert "| 4,000 pairs of z and portrait, paired phase, 24 minutes | 2,000 x 32 |" in pages[0]
    assert ["not yet measured" in page for page in pages] == [True, False]


def test_the_card_names_every_attribute_and_failure():
    page = model_card(card(0.98, 0.89))
    assert all(f"| {name} | 0.980 | 0.980 | 0.890 | 0.980 |" in page for name in ATTRIBUTES)
    assert page.count("**no**") == 3
    without = card(0.98, 0.9)
    without.pop("generated")
    assert "| natural | G(z) |" not in model_card(without)
