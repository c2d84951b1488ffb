"""StyleFlow, SDFlow and AdaTrans in the toy world: they learn it, keep promises, come back from disk."""

import itertools
import sys
import time
from dataclasses import asdict, replace

import pytest
import torch
from toy_editors import CONFIGS, NAMES, fit, fitted, toy_bank
from toy_world import ROWS, W_DIM, ToyFeatures, toy_models

from hfld.config import read_section
from hfld.editors import (
    EDITORS,
    TRAINED,
    AdaTrans,
    Bank,
    SDFlow,
    StyleFlow,
    editor_file,
    make_editor,
    strength_for,
    trained,
)
from hfld.editors.adatrans import OFFICIAL_ADATRANS, AdaTransConfig
from hfld.editors.flow import OFFICIAL_SDFLOW, OFFICIAL_STYLEFLOW
from hfld.editors.trained import PROBES, UNTRAINED, Watch, distinct_rows, retarget
from hfld.losses import landmark_loss

KINDS = [StyleFlow, SDFlow, AdaTrans]
every = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def models():
    return toy_models()


@pytest.fixture
def ws(models):
    return models.ws(models.latents(32, seed=5, split="test"))


def wplus(ws):
    """Latents whose rows differ."""
    return ws + 0.1 * torch.randn(ws.shape, generator=torch.Generator().manual_seed(0))


@every
@pytest.mark.parametrize("attribute", NAMES)
def test_target_follows_the_strength(kind, attribute, models, ws):
    """Nearly every image rises with every strength, and the edit reaches far to both sides."""
    k = NAMES.index(attribute)
    strengths = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
    scores = torch.stack(
        [models.score(fitted(kind).edit(ws, attribute, strength))[:, k] for strength in strengths]
    )
    assert (scores.diff(dim=0) > 0).float().mean() > 0.9
    means = scores.mean(dim=1)
    assert means[-1] - means[3] > 0.12
    assert means[3] - means[0] > 0.12
    others = [j for j in range(10) if j != k]
    change = (models.score(fitted(kind).edit(ws, attribute, 0.5)) - models.score(ws))[:, others].abs().mean()
    assert change < 0.4 * (means[5] - means[3])


@every
def test_strengths_of_one_batch_are_independent(kind, ws):
    editor = fitted(kind)
    strength = torch.linspace(-1, 1, 32)
    strength[7] = 0
    edited = editor.edit(wplus(ws), NAMES[0], strength)
    assert torch.equal(edited[7], wplus(ws)[7])
    for i in (0, 31):
        alone = editor.edit(wplus(ws)[i : i + 1], NAMES[0], float(strength[i]))
        torch.testing.assert_close(edited[i : i + 1], alone, atol=1e-4, rtol=1e-4)


@every
def test_fit_is_deterministic_and_seeded(kind):
    short = {"steps": 4} | ({"density_steps": 4} if kind is AdaTrans else {})
    first, again, other = fit(kind, **short), fit(kind, **short), fit(kind, **short, seed=2)
    states = [editor.network.state_dict() for editor in (first, again, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])
    assert first.history == again.history
    assert torch.initial_seed() != first.config.seed  # the global generator is not the editors'


@every
def test_loss_falls_and_is_kept(kind):
    history = [row for row in fitted(kind).history if row.get("part") != "density"]
    assert history[-1]["step"] == CONFIGS[kind].steps
    third = len(history) // 3
    early, late = (sum(row["total"] for row in rows) for rows in (history[:third], history[-third:]))
    assert late < 0.95 * early


@every
def test_saved_editor_edits_alike(kind, models, ws, tmp_path):
    editor = fitted(kind)
    path = tmp_path / "editor.safetensors"
    editor.save(path)
    loaded = kind.load(path, models=models)
    assert loaded.config == editor.config
    assert loaded.history == editor.history
    assert loaded.watched == editor.watched
    assert loaded.seconds == editor.seconds > 0
    assert torch.equal(loaded.edit(ws, NAMES[1], 0.7), editor.edit(ws, NAMES[1], 0.7))
    assert loaded.fit(toy_bank()) is loaded  # it came trained
    wrong = AdaTrans if kind is StyleFlow else StyleFlow
    with pytest.raises(ValueError, match=f"holds {kind.__name__}, not {wrong.__name__}"):
        wrong.load(path)


@every
def test_interrupted_fit_continues_to_the_same_end(kind, tmp_path, monkeypatch):
    short = {"steps": 4} | ({"density_steps": 4} if kind is AdaTrans else {})
    straight = fit(kind, **short)
    editor = kind(replace(CONFIGS[kind], **short), models=toy_models(), run_dir=tmp_path, progress=False)
    module = sys.modules[kind.__module__]
    real = module.batch_indices

    def fails_once(i, **rest):
        if i == 2:
            monkeypatch.setattr(module, "batch_indices", real)
            raise KeyboardInterrupt
        return real(i, **rest)

    monkeypatch.setattr(module, "batch_indices", fails_once)
    with pytest.raises(KeyboardInterrupt):
        editor.fit(toy_bank())
    with pytest.raises(ValueError, match="not fitted"):
        editor.save(tmp_path / "half.safetensors")
    state = editor.fit(toy_bank()).network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in straight.network.state_dict().items())
    assert editor.history == straight.history
    assert editor.watched == straight.watched
    folders = len(list(tmp_path.iterdir()))
    bank = toy_bank()  # another bank is another run
    kind(editor.config, models=toy_models(), run_dir=tmp_path, progress=False).fit(
        Bank(-bank.ws, bank.scores)
    )
    assert len(list(tmp_path.iterdir())) == 2 * folders


@every
def test_landmark_term_holds_the_landmarks(kind, models, ws):
    """The attribute of coordinate 0 moves landmarks; coordinate 11, which nothing else reads, can undo it."""
    weight = {"landmark_weight": 100.0}

    def drift(editor):
        edited = editor.edit(ws, NAMES[0], 0.5)
        change = (models.score(edited) - models.score(ws))[:, 0].mean()
        points = [models.points(models.images(x)) for x in (ws, edited)]
        return float(landmark_loss(*points).mean() / change), float(change)

    (free, _), (held, change) = drift(fitted(kind)), drift(fit(kind, **weight))
    assert held < 0.3 * free
    assert change > 0.02
    assert "landmark" in fit(kind, **weight, steps=1).history[-1]
    assert "landmark" not in fitted(kind).history[-1]
    config = replace(CONFIGS[kind], **weight)
    with pytest.raises(ValueError, match=r"landmark_weight is 100\.0 but there is no landmarks network"):
        kind(config, models=toy_models(landmarks=False)).fit(toy_bank())


@pytest.mark.parametrize("kind", [SDFlow, AdaTrans])
def test_parts_without_the_landmark_term_are_trained_once(kind, tmp_path, monkeypatch):
    first = {SDFlow: {"encoder_steps": 6, "flow_steps": 6}, AdaTrans: {"density_steps": 6}}[kind]
    config = replace(CONFIGS[kind], steps=3, **first)
    both = [replace(config, landmark_weight=weight) for weight in (0.0, 50.0)]

    def fitted_in(folder, config):
        return kind(config, models=toy_models(), run_dir=tmp_path / folder, progress=False).fit(toy_bank())

    monkeypatch.setattr(time, "monotonic", itertools.count().__next__)  # every look at the clock is a second
    without, term = (fitted_in("shared", config) for config in both)
    parts = 1 + len(first)
    assert len(list((tmp_path / "shared").iterdir())) == parts + 1
    alone = fitted_in("alone", both[1])
    state = alone.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in term.network.state_dict().items())
    assert (term.history, term.watched) == (alone.history, alone.watched)
    assert term.history[-1] != without.history[-1]
    assert term.seconds == alone.seconds  # those of the shared parts count


def test_a_loss_is_watched_on_the_same_latents():
    module, seen = torch.nn.BatchNorm1d(1), []

    def step(i):
        seen.append(i)
        return {"a": module(torch.full((2, 1), float(i))).sum(), "b": torch.ones(4)}

    watch = Watch(step, module, 7)
    for i in range(7):
        watch.step(i)
        watch.after(i)
    probes = list(range(7, 7 + PROBES))
    assert [row["step"] for row in watch.rows[::PROBES]] == [0, 1, 3, 4, 6, 7]
    assert [row["probe"] for row in watch.rows] == 6 * list(range(PROBES))
    assert seen[: PROBES + 2] == [*probes, 0, *probes[:1]]
    assert module.num_batches_tracked == 7  # probes leave no trace


@every
def test_wrong_use_is_named(kind, models, ws, tmp_path):
    new = kind(CONFIGS[kind])
    with pytest.raises(ValueError, match="not fitted"):
        new.edit(ws, NAMES[0], 1.0)
    with pytest.raises(ValueError, match="not fitted"):
        new.save(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="connect"):
        new.fit(toy_bank())
    editor = fitted(kind)
    with pytest.raises(ValueError, match=f"ws must be .N, {ROWS}, {W_DIM}."):
        editor.edit(ws[:, :2], NAMES[0], 1.0)
    with pytest.raises(ValueError, match="strength must be"):
        editor.edit(ws, NAMES[0], torch.zeros(3))
    with pytest.raises(ValueError, match="Attractive"):
        editor.edit(ws, "Atractive", 1.0)
    editor.save(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="connect"):
        kind.load(tmp_path / "x.safetensors").edit(ws, NAMES[0], 1.0)


@pytest.mark.parametrize("name", list(TRAINED))
def test_registry_loads_and_connects(name, models, ws, tmp_path):
    editor = fitted(TRAINED[name])
    editor.save(editor_file(tmp_path, name))
    made = make_editor(name, weights=tmp_path, models=models)
    assert torch.equal(made.edit(ws, NAMES[0], 0.3), editor.edit(ws, NAMES[0], 0.3))
    with pytest.raises(FileNotFoundError, match="make benchmark"):
        make_editor(name, weights=tmp_path / "elsewhere")
    assert name in EDITORS


@pytest.mark.parametrize("config", [OFFICIAL_STYLEFLOW, OFFICIAL_SDFLOW, OFFICIAL_ADATRANS])
def test_configs_are_sections(config):
    assert read_section(type(config), asdict(config), where="test") == config


# The flows


def test_styleflow_asks_for_the_target_itself(models, ws):
    """At native strength the condition is the target, whatever the score was."""
    editor = fitted(StyleFlow)
    seen = {}

    def inverse(z, condition):
        seen["condition"] = condition
        return type(editor.network).inverse(editor.network, z, condition)

    strength = strength_for(0.9, models.score(ws)[:, 2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editor.network, "inverse", inverse, raising=False)
        editor.edit(ws, NAMES[2], strength)
    expected = models.score(ws)[:, :3].clone()
    expected[:, 2] = 0.9
    torch.testing.assert_close(seen["condition"], expected)


def test_scores_are_those_of_the_latents_at_hand(models, ws):
    editor = fitted(StyleFlow)
    ws = ws.clone()
    torch.testing.assert_close(editor.scores(ws), models.score(ws)[:, :3])
    ws += 0.5
    torch.testing.assert_close(editor.scores(ws), models.score(ws)[:, :3])
    with torch.inference_mode():
        inside = editor.edit(ws, NAMES[0], 0.5)
    assert torch.equal(editor.edit(ws, NAMES[0], 0.5), inside)


def like(editor, **changes):
    """The same networks under another config."""
    other = type(editor)(replace(editor.config, **changes), models=editor.models)
    other.network, other.shape, other.fitted = editor.network, editor.shape, True
    return other


def test_official_degrees_and_rows_of_styleflow(ws):
    names = ("Bald", "Eyeglasses", "Bangs")
    plain = like(fitted(StyleFlow), attributes=names)
    strong = like(plain, degrees="official")
    torch.testing.assert_close(strong.edit(ws, "Bald", 0.2), plain.edit(ws, "Bald", 0.4))
    torch.testing.assert_close(strong.edit(ws, "Bangs", 0.2), plain.edit(ws, "Bangs", 0.2))
    rows = like(plain, rows="official")
    moved = (rows.edit(ws, "Eyeglasses", 0.4) - ws).abs().amax(dim=(0, 2))
    assert (moved > 0).tolist() == [False, False, True, True]
    assert torch.equal(rows.edit(ws, "Bangs", 0.4), plain.edit(ws, "Bangs", 0.4))


def test_sdflow_reads_its_own_encoder(models, ws):
    editor = fitted(SDFlow)
    condition = editor.condition(ws)
    with torch.no_grad():
        torch.testing.assert_close(condition, editor.network["encoder"](models.images(ws)))
    scores = models.score(ws)[:, :3]
    assert (condition - scores).abs().mean() < 0.65 * (scores - scores.mean(dim=0)).abs().mean()


def test_rows_alike_are_computed_once(ws):
    assert distinct_rows(ws).shape == (32, 1, W_DIM)
    assert torch.equal(distinct_rows(wplus(ws)), wplus(ws))
    editor = fitted(StyleFlow)
    almost = ws.clone()
    almost[0, 0, 0] += 1e-6  # no longer alike: all rows through the flow
    torch.testing.assert_close(
        editor.edit(almost, NAMES[0], 0.5), editor.edit(ws, NAMES[0], 0.5), atol=1e-4, rtol=0
    )


def test_retarget_changes_one_attribute_of_each():
    condition = torch.full((200, 3), 2.0)
    changed = retarget(condition, torch.Generator().manual_seed(0))
    different = changed != condition
    assert (different.sum(dim=1) == 1).all()
    assert different.any(dim=0).all()
    assert ((changed[different] >= 0) & (changed[different] <= 1)).all()
    assert torch.equal(condition, torch.full((200, 3), 2.0))


# AdaTrans


def test_strength_is_the_share_of_the_steps(models, ws):
    editor = fitted(AdaTrans)  # 4 steps

    def walk(direction, steps):
        condition = editor.signed(models.score(ws)[:, :3])
        condition[:, 1] = direction
        with torch.no_grad():
            return ws + editor.scale * editor.network["trajectory"](ws / editor.scale, condition, steps)

    path = walk(1, 6)
    assert torch.equal(path[0], ws)
    for strength, expected in (
        (1.0, path[4]),
        (0.25, path[1]),
        (0.375, (path[1] + path[2]) / 2),
        (1.5, path[6]),
    ):
        torch.testing.assert_close(editor.edit(ws, NAMES[1], strength), expected)
    torch.testing.assert_close(editor.edit(ws, NAMES[1], -0.5), walk(-1, 2)[-1])
    lengths = path.diff(dim=0).norm(dim=-1)
    assert (lengths < editor.scale).all()


def test_conditions_and_targets_of_adatrans():
    scores = torch.tensor([[0.0, 0.25, 1.0]])
    signed, official = (AdaTrans(AdaTransConfig(condition=c)).signed(scores) for c in ("signed", "official"))
    assert signed.tolist() == [[-1.0, -0.5, 1.0]]
    assert official.tolist() == [[-1.0, 0.25, 1.0]]
    scores = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
    for kind in ("flip", "random"):
        editor = AdaTrans(AdaTransConfig(attributes=NAMES, targets=kind))
        target, condition = editor._targets(scores, torch.Generator().manual_seed(1))
        changed = target != scores
        assert (changed.sum(dim=1) == 1).all()
        values = target[changed]
        assert torch.equal(condition[changed], 2 * values - 1)
        assert torch.equal(condition[~changed], 2 * scores[~changed] - 1)
        flipped = values != (scores[changed] > 0.5).float()
        assert flipped.all() if kind == "flip" else 0.3 < flipped.float().mean() < 0.7


def test_density_finds_far_latents_unlikely(ws):
    editor = fitted(AdaTrans)
    likely, far = editor.log_density(ws), editor.log_density(3 * ws)
    assert likely.shape == (32, ROWS)
    assert (far < likely).float().mean() > 0.9


def test_the_perceptual_term_is_there_with_its_network(models):
    short = replace(CONFIGS[AdaTrans], steps=1, density_steps=1)
    assert isinstance(models.perceptual, ToyFeatures)
    assert AdaTrans(short, models=models, progress=False).fit(toy_bank()).history[-1]["perceptual"] > 0
    models.perceptual = None
    bare = AdaTrans(short, models=models, progress=False).fit(toy_bank()).history[-1]
    assert "perceptual" not in bare


def test_the_encoder_of_sdflow_may_learn_alone_first():
    editor = fit(SDFlow, encoder_steps=30, encoder_batch=8, steps=2)
    parts = [row["part"] for row in editor.history]
    assert parts.index("flow") == parts.count("encoder") > 0
    alone = [row["total"] for row in editor.history if row["part"] == "encoder"]
    assert sum(alone[-5:]) < sum(alone[:5])
    joint = editor.history[-1]
    without = fit(SDFlow, encoder_steps=0, steps=2).history[-1]
    assert joint["distillation"] < without["distillation"]


def test_scores_and_conditions_of_sdflow_are_not_confused(ws):
    editor = fit(SDFlow, steps=2)
    scores = editor.scores(ws)
    assert not torch.equal(editor.condition(ws), scores)
    assert torch.equal(editor.scores(ws), scores)


def test_the_flow_of_sdflow_may_learn_the_density_first():
    editor = fit(SDFlow, encoder_steps=5, flow_steps=60, flow_batch=16, steps=2)
    assert list(dict.fromkeys(row["part"] for row in editor.history)) == ["encoder", "density", "flow"]
    alone = [row["total"] for row in editor.history if row["part"] == "density"]
    assert sum(alone[-5:]) < sum(alone[:5])
    joint = [row for row in editor.watched if row["part"] == "flow"]
    assert [row["step"] for row in joint[::PROBES]][:2] == [UNTRAINED, 0]
    at = {step: sum(row["total"] for row in joint if row["step"] == step) for step in (UNTRAINED, 0)}
    assert at[0] < at[UNTRAINED]  # by what its parts learned alone


def test_a_joint_part_without_a_start_is_watched_from_its_first_step():
    editor = fit(SDFlow, encoder_steps=0, flow_steps=0, steps=2)
    assert min(row["step"] for row in editor.watched) == 0


@every
def test_standardised_latents_are_in_units_of_their_spread(kind, ws):
    bank, changes = toy_bank(), {"steps": 20} | ({"image_batch": 4} if kind is AdaTrans else {})
    small, large = (
        kind(replace(CONFIGS[kind], **changes), models=toy_models(), progress=False).fit(
            Bank(factor * bank.ws, bank.scores)
        )
        for factor in (1, 10)
    )
    assert large.scale == pytest.approx(10 * small.scale, rel=1e-5)
    assert fit(kind, steps=1, standardise=False).scale == 1
    if kind is StyleFlow:  # its networks see latents alone, so that both have learned the same
        condition = small.condition(ws)
        target = condition + torch.tensor([0.5, 0.0, 0.0])
        moved, far = (
            editor._regenerate(factor * ws, condition, target).detach() / factor
            for editor, factor in ((small, 1), (large, 10))
        )
        assert (moved - ws).abs().max() > 0.01
        torch.testing.assert_close(far, moved, rtol=0, atol=1e-3)


def test_the_joint_part_of_sdflow_learns_at_a_rate_of_its_own(monkeypatch):
    rates = {}
    train = trained.train

    def recorded(**options):
        rates[options["name"]] = options["optimizer"].param_groups[0]["lr"]
        return train(**options)

    monkeypatch.setattr(trained, "train", recorded)
    fit(SDFlow, encoder_steps=2, flow_steps=2, steps=2, lr=1e-4, first_lr=1e-2)
    assert rates == {"SDFlow encoder": 1e-2, "SDFlow density": 1e-2, "SDFlow flow": 1e-4}
