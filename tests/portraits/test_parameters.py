"""The latent of a portrait: its copula, entailment, expression and counterfactuals."""

import numpy as np
import pytest

from hfld.attributes import ATTRIBUTES, EMOTIONS, attribute_index
from hfld.portraits import parameters as world
from hfld.portraits.copula import (
    COPULA_PATH,
    MIN_EIGENVALUE,
    Copula,
    counted_frequencies,
    load_copula,
    nearest_correlation,
    phi_coefficients,
)
from hfld.portraits.entailment import BEARD_KINDS, ENTAILMENT, FULL_BEARD, HAIR_COLOURS, SHARPNESS
from hfld.portraits.expression import PROTOTYPES, action_units, emotion_percentages

COUNT = len(ATTRIBUTES)
HAIR = [attribute_index(name) for name in HAIR_COLOURS]


def strengths_of(**wanted: float) -> np.ndarray:
    """[1, 40]: all attributes off but the given ones."""
    strengths = np.full((1, COUNT), 0.01)
    for name, value in wanted.items():
        strengths[0, attribute_index(name)] = value
    return strengths


def latent(**margins: float) -> np.ndarray:
    """[1, 80]: a portrait with every score well below its threshold but those given as margins."""
    scores = load_copula().thresholds - 1.0
    for name, margin in margins.items():
        k = world.SCORES.index(name)
        scores[k] = load_copula().thresholds[k] + margin
    return world.latent_of_scores(scores[None], np.zeros((1, 35))).astype(np.float32)


@pytest.fixture(scope="module")
def natural() -> world.Parameters:
    return world.decode(world.sample(100_000, 7))


@pytest.fixture(scope="module")
def independent() -> world.Parameters:
    return world.decode(world.sample(20_000, 8, mode="independent"))


def label_frequencies(parameters: world.Parameters) -> np.ndarray:
    labels = parameters.labels.astype(np.float64)
    return labels.T @ labels / len(labels)


def test_latents_are_reproducible_and_do_not_depend_on_their_number():
    for mode in ("natural", "independent"):
        z = world.sample(50, 3, mode=mode)
        assert z.shape == (50, world.Z_DIM) and z.dtype == np.float32
        np.testing.assert_array_equal(z, world.sample(50, 3, mode=mode))
        np.testing.assert_allclose(z[:20], world.sample(20, 3, mode=mode), atol=1e-5)
        assert not np.array_equal(z, world.sample(50, 4, mode=mode))


def test_natural_latents_are_standard_normal():
    z = world.sample(50_000, 5)
    covariance = z.T @ z / len(z)
    assert np.abs(z.mean(axis=0)).max() < 0.025
    assert np.abs(covariance - np.eye(world.Z_DIM)).max() < 0.03
    assert np.abs((np.abs(z) < 1).mean() - 0.6827) < 0.002


def test_parameters_have_stated_shapes_and_ranges(natural):
    assert world.Z_DIM == 80 and len(natural) == 100_000
    assert natural.strengths.shape[1:] == (40,) and natural.units.shape[1:] == (14,)
    assert natural.nuisance.shape[1:] == (35,)
    for array in (natural.strengths, natural.units, natural.nuisance):
        assert array.dtype == np.float32 and np.isfinite(array).all()
    assert natural.strengths.min() >= 0 and natural.strengths.max() <= 1
    assert natural.units.min() >= 0 and natural.units.max() <= 1
    assert 2.4 < np.abs(natural.nuisance).max() <= 2.5
    assert np.abs(natural.pose[:, 0]).max() <= 32 and 13 < natural.pose[:, 0].std() < 14.5
    np.testing.assert_allclose(natural.pose[:, 1], 8 * natural.value("pitch"))
    np.testing.assert_array_equal(natural.labels, natural.strengths > 0.5)


def test_batches_are_indexed_like_arrays(natural):
    some = natural[10:20]
    assert len(some) == 10
    np.testing.assert_array_equal(some[3].strengths, natural.strengths[13:14])
    np.testing.assert_array_equal(natural[np.array([4, 2])].units, natural.units[[4, 2]])
    with pytest.raises(IndexError, match="outside a batch of 10"):
        some[10]


def test_nuisance_passes_through_and_bends_at_the_ends():
    z = np.zeros((3, world.Z_DIM))
    z[:, 45:] = np.array([[0.7], [-1.5], [6.0]])
    nuisance = world.decode(z).nuisance
    np.testing.assert_allclose(nuisance[0], 0.7, atol=1e-6)
    np.testing.assert_allclose(nuisance[1], -1.5, atol=1e-6)
    assert 2.49 < nuisance[2].min() <= nuisance[2].max() <= 2.5


def test_marginals_are_as_counted(natural):
    assert np.abs(natural.labels.mean(axis=0) - np.diag(counted_frequencies())).max() < 0.01


def test_correlations_are_as_counted(natural):
    error = phi_coefficients(label_frequencies(natural)) - phi_coefficients(counted_frequencies())
    off = np.abs(error[np.triu_indices(COUNT, 1)])
    assert off.mean() < 0.02
    assert off.max() < 0.10


def test_copula_is_well_conditioned():
    copula = load_copula()
    np.testing.assert_array_equal(np.diag(copula.correlation), 1)
    assert np.linalg.eigvalsh(copula.correlation).min() > 0.95 * MIN_EIGENVALUE
    np.testing.assert_allclose(copula.factor @ copula.factor.T, copula.correlation, atol=1e-12)


def test_nearest_correlation_keeps_what_is_one_and_repairs_what_is_not():
    good = np.array([[1, 0.5], [0.5, 1]])
    np.testing.assert_array_equal(nearest_correlation(good), good)
    bad = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])
    repaired = nearest_correlation(bad)
    np.testing.assert_allclose(np.diag(repaired), 1)
    assert np.linalg.eigvalsh(repaired).min() > 0.04
    assert np.all(np.sign(repaired) == np.sign(bad))


def test_coupling_scales_correlations_and_keeps_prevalences():
    pair = [attribute_index("Attractive"), attribute_index("Young")]
    counted = np.diag(counted_frequencies())
    phis = []
    for coupling in (0.0, 0.5, 1.0, 1.5):
        labels = world.decode(world.sample(20_000, 9, coupling=coupling)).labels
        off = np.abs(labels.mean(axis=0) - counted)
        if coupling > 1:
            off[HAIR] = 0  # the stated exception
        assert off.max() < 0.02, ATTRIBUTES[off.argmax()]
        phis.append(np.corrcoef(labels[:, pair].T)[0, 1])
    assert abs(phis[0]) < 0.03
    assert np.diff(phis).min() > 0.08


def test_uncoupled_attributes_correlate_only_where_they_exclude_each_other():
    phi = phi_coefficients(label_frequencies(world.decode(world.sample(20_000, 9, coupling=0))))
    for i, name in enumerate(ATTRIBUTES):
        tied = {name, *world.entailed(name)}
        others = [
            j for j in range(i) if ATTRIBUTES[j] not in tied and name not in world.entailed(ATTRIBUTES[j])
        ]
        assert np.abs(phi[i, others]).max(initial=0) < 0.04, name


def test_independent_mode_has_its_stated_prevalences(independent):
    wanted = np.array([world.INDEPENDENT_PREVALENCE[name] for name in ATTRIBUTES])
    assert tuple(world.INDEPENDENT_PREVALENCE) == ATTRIBUTES
    assert np.abs(independent.labels.mean(axis=0) - wanted).max() < 0.02
    assert independent.visible.mean(axis=0).min() > 0.6
    assert (independent.full_beard > 0.5).mean() > 0.08
    shares = np.bincount(independent.emotions.argmax(axis=1), minlength=7) / len(independent)
    assert shares.min() > 0.09


def test_independent_mode_uncouples_gender(independent):
    labels = independent.labels
    male = labels[:, attribute_index("Male")]
    for name in ("Wearing_Lipstick", "Goatee", "Wearing_Necktie", "Heavy_Makeup", "No_Beard", "Young"):
        assert abs(np.corrcoef(male, labels[:, attribute_index(name)])[0, 1]) < 0.03


def test_scores_and_latents_are_inverse():
    z = world.sample(500, 1)
    back = world.latent_of_scores(world.scores_of_latent(z), z[:, 45:])
    np.testing.assert_allclose(back, z, atol=1e-6)


def test_strength_is_a_sigmoid_of_the_margin():
    for margin in (-0.4, 0.0, 0.3):
        strength = world.decode(latent(Eyeglasses=margin)).strength("Eyeglasses")[0]
        assert strength == pytest.approx(1 / (1 + np.exp(-SHARPNESS * margin)), abs=1e-5)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_counterfactual_sets_one_attribute_and_leaves_the_rest(attribute, value):
    z = world.sample(400, 2)
    changed = world.counterfactual(z, attribute, value)
    assert changed.dtype == np.float32
    np.testing.assert_array_equal(changed[:, 45:], z[:, 45:])
    tied = {attribute, *world.entailed(attribute)}
    kept = [k for k, name in enumerate(world.SCORES) if name not in tied]
    scores, scores_after = world.scores_of_latent(z), world.scores_of_latent(changed)
    np.testing.assert_allclose(scores_after[:, kept], scores[:, kept], atol=1e-5)
    before, after = world.decode(z), world.decode(changed)
    strength = after.strength(attribute)
    if value == 1:
        np.testing.assert_allclose(strength, 0.98, atol=1e-3)
    else:
        assert strength.max() < 0.0201
    # An entailed change may release what it excluded: waves in place of a bald head may come with a fringe.
    loose = [k for k, name in enumerate(ATTRIBUTES) if not tied & {name, *world.entailed(name)}]
    np.testing.assert_allclose(after.strengths[:, loose], before.strengths[:, loose], atol=2e-5)
    again = world.decode(world.counterfactual(changed, attribute, value))
    np.testing.assert_allclose(again.strengths, after.strengths, atol=0.021)  # LOWEST, where nothing is seen


def test_counterfactual_takes_a_value_per_portrait():
    z = world.sample(5, 2)
    values = np.linspace(0.1, 0.9, 5)
    np.testing.assert_allclose(
        world.decode(world.counterfactual(z, "Eyeglasses", values)).strength("Eyeglasses"), values, atol=1e-5
    )
    one_by_one = [world.counterfactual(z[i : i + 1], "Eyeglasses", values[i]) for i in range(5)]
    np.testing.assert_allclose(
        world.counterfactual(z, "Eyeglasses", values), np.concatenate(one_by_one), atol=1e-6
    )


@pytest.mark.parametrize("attribute", ["Black_Hair", "No_Beard", "Goatee", "Bangs", "Wavy_Hair", "Smiling"])
def test_counterfactual_is_monotone_and_leaves_the_excluded_at_zero(attribute):
    z = world.sample(300, 6)
    strengths = [
        world.decode(world.counterfactual(z, attribute, value)).strength(attribute)
        for value in np.linspace(0, 1, 9)
    ]
    assert np.diff(np.stack(strengths), axis=0).min() > -1e-5
    for name in world.entailed(attribute):
        if attribute not in BEARD_KINDS:
            off = world.scores_of_latent(world.counterfactual(z, attribute, 0.0))
            k = ATTRIBUTES.index(name)
            np.testing.assert_allclose(off[:, k], world.scores_of_latent(z)[:, k], atol=1e-5)


def test_appearance_edits_leave_the_expression():
    z = world.sample(200, 4)
    units = world.decode(z).units
    for name in ("Male", "Black_Hair", "Bald", "Eyeglasses", "Goatee", "Young"):
        np.testing.assert_allclose(world.decode(world.counterfactual(z, name, 1)).units, units, atol=1e-5)
    assert np.abs(world.decode(world.counterfactual(z, "Smiling", 1)).units - units).max() > 0.5


def test_labels_never_contradict_each_other(natural, independent):
    for parameters in (natural, independent):
        for rule in ENTAILMENT:
            causes = [attribute_index(name) for name in rule.causes if name != FULL_BEARD]
            labels = parameters.labels
            if rule.kind == "excludes":
                for effect in rule.effects:
                    assert not (labels[:, causes].any(axis=1) & labels[:, attribute_index(effect)]).any()
            elif rule.kind == "rivals":
                assert labels[:, causes].sum(axis=1).max() == 1


def test_rivals_give_way_to_the_largest_score():
    strengths = world.decode(latent(Black_Hair=0.3, Brown_Hair=0.8)).strengths[0]
    assert strengths[attribute_index("Brown_Hair")] > 0.9 and strengths[attribute_index("Black_Hair")] < 0.1


def test_every_rule_names_attributes_and_a_known_kind():
    for rule in ENTAILMENT:
        assert rule.kind in ("excludes", "rivals", "replaces", "hides") and rule.reason
        assert set(rule.effects) <= set(ATTRIBUTES) and set(rule.causes) <= {*ATTRIBUTES, FULL_BEARD}


def test_kinds_of_beard_exclude_no_beard_and_a_full_beard_stands_for_none():
    full = world.decode(latent(No_Beard=-1))
    assert full.full_beard[0] > 0.9 and not full.visible[0, attribute_index("5_o_Clock_Shadow")]
    goatee = world.decode(latent(No_Beard=1, Goatee=1))
    assert goatee.strength("No_Beard")[0] < 0.1 and goatee.full_beard[0] < 0.1
    bare = world.decode(latent(No_Beard=1))
    assert bare.full_beard[0] < 0.01 and bare.strength("No_Beard")[0] > 0.99
    half = world.decode(latent(No_Beard=1, Goatee=0))
    assert half.full_beard[0] < 1e-6  # a goatee that grows on a shaved face brings no beard with it


@pytest.mark.parametrize("kind", BEARD_KINDS)
def test_shaving_a_kind_of_beard_grows_no_full_beard(kind):
    z = latent(**{"No_Beard": -1, kind: 1})
    shaved = world.decode(world.counterfactual(z, kind, 0))
    assert shaved.labels[0, attribute_index("No_Beard")] and shaved.full_beard[0] < 0.1


def test_setting_no_beard_shaves_every_kind():
    z = latent(No_Beard=-1, Goatee=1, Mustache=1, Sideburns=1)
    shaved = world.decode(world.counterfactual(z, "No_Beard", 1))
    assert max(shaved.strength(kind)[0] for kind in BEARD_KINDS) < 0.03
    assert shaved.strength("No_Beard")[0] == pytest.approx(0.98, abs=1e-3)


def test_what_bald_heads_and_hats_hide():
    everything_seen = world.decode(latent(No_Beard=1))
    assert everything_seen.visible.all()
    hidden = {
        "Bald": {"Bangs", "Straight_Hair", "Wavy_Hair", "Receding_Hairline", *HAIR_COLOURS},
        "Wearing_Hat": {"Bald", "Bangs", "Receding_Hairline"},
    }
    for cause, effects in hidden.items():
        visible = world.decode(latent(**{"No_Beard": 1, cause: 1})).visible[0]
        assert {name for name, seen in zip(ATTRIBUTES, visible, strict=True) if not seen} == effects


def test_labels_follow_from_action_units(natural):
    for name, unit in (("Smiling", 12), ("Mouth_Slightly_Open", 25)):
        np.testing.assert_array_equal(natural.unit(unit), natural.strength(name))
    np.testing.assert_array_equal(natural.unit(7) > 0.5, natural.labels[:, attribute_index("Narrow_Eyes")])
    assert np.all(natural.unit(26) <= natural.unit(25) + 1e-6)
    cheeks = natural.labels[:, attribute_index("High_Cheekbones")] & (natural.strength("Smiling") > 0.9)
    assert natural.unit(6)[cheeks].min() > 0.6


def test_emotion_shares_are_wide(natural):
    shares = np.bincount(natural.emotions.argmax(axis=1), minlength=7) / len(natural)
    by_name = dict(zip(EMOTIONS, shares, strict=True))
    assert 0.38 < by_name.pop("happy") < 0.46
    assert 0.12 < by_name.pop("neutral") < 0.18
    assert min(by_name.values()) > 0.07


def test_emotions_are_percentages_that_agree_with_smiling(natural):
    np.testing.assert_allclose(natural.emotions.sum(axis=1), 100, atol=1e-3)
    assert natural.emotions.min() >= 0
    happy = natural.emotions.argmax(axis=1) == EMOTIONS.index("happy")
    assert natural.labels[happy, attribute_index("Smiling")].mean() > 0.98
    clear = natural.emotions.max(axis=1)
    assert (clear > 80).mean() > 0.6 and (clear < 60).mean() > 0.05  # mostly clear, some blends


@pytest.mark.parametrize("emotion", PROTOTYPES)
def test_prototypes_are_read_confidently(emotion):
    units = np.array([[PROTOTYPES[emotion].get(number, 0.0) for number in world.ACTION_UNITS]])
    assert emotion_percentages(units)[0, EMOTIONS.index(emotion)] > 75
    assert emotion_percentages(units * 0)[0, EMOTIONS.index("neutral")] > 75


def test_a_surprise_with_a_closed_mouth_is_less_certain():
    margins = np.array([[-2.0, -2.0, -2.0, -2.0, 1.0]])
    percent = [
        emotion_percentages(action_units(strengths_of(Mouth_Slightly_Open=opened), margins))[0]
        for opened in (0.0, 1.0)
    ]
    surprise = EMOTIONS.index("surprise")
    assert percent[0].argmax() == percent[1].argmax() == surprise
    assert percent[0][surprise] < percent[1][surprise]


def test_emotions_are_smooth_in_the_units():
    units = np.random.default_rng(0).random((200, 14))
    step = emotion_percentages(units + 1e-4) - emotion_percentages(units)
    assert np.abs(step).max() < 0.5


def test_wrong_arguments_get_one_clear_line():
    z = world.sample(3, 0)
    with pytest.raises(ValueError, match="unknown attribute 'Smilling'; the nearest is 'Smiling'"):
        world.counterfactual(z, "Smilling", 1)
    for value in (-0.1, 1.1, float("nan"), np.array([0.1, 0.2, 1.5])):
        with pytest.raises(ValueError, match=r"value must lie within \[0, 1\]"):
            world.counterfactual(z, "Smiling", value)
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        world.counterfactual(z, "Smiling", np.array([0.1, 0.2]))
    with pytest.raises(ValueError, match=r"\[N, 80\], got \[3, 79\]"):
        world.decode(z[:, :79])
    with pytest.raises(ValueError, match="unknown mode 'correlated'"):
        world.sample(3, 0, mode="correlated")
    with pytest.raises(ValueError, match="coupling is a finite factor"):
        world.sample(3, 0, coupling=-1)
    with pytest.raises(ValueError, match="at least 0, got -3"):
        world.sample(-3, 0)
    parameters = world.decode(z)
    with pytest.raises(ValueError, match="unknown nuisance parameter 'yaww'; the nearest is 'yaw'"):
        parameters.value("yaww")
    with pytest.raises(ValueError, match="unknown action unit 3"):
        parameters.unit(3)


def test_copula_file_lists_the_scores_in_order():
    header = COPULA_PATH.read_text().splitlines()[0].split(",")
    assert tuple(header[2:]) == world.SCORES
    assert isinstance(load_copula(), Copula)
