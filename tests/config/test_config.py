"""Profiles are typed and strict, and every wrong one gets one clear line."""

import dataclasses
import re
import shutil

import pytest
import yaml

from hfld import config
from hfld.config import METHODS, PRESETS, ROOT, load_profile, sections_of

PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))


@pytest.fixture
def edited(tmp_path):
    """edited(old, new) -> a root whose smoke profile has that text replaced."""

    def edit(old: str, new: str):
        shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
        path = tmp_path / "profiles" / "smoke.yaml"
        text = path.read_text()
        assert re.search(old, text, flags=re.M)
        path.write_text(re.sub(old, new, text, count=1, flags=re.M))
        return tmp_path

    return edit


@pytest.mark.parametrize("name", PROFILES)
def test_profile_keys_equal_dataclass_fields(name):
    values = yaml.safe_load((ROOT / "profiles" / f"{name}.yaml").read_text())
    expected = sections_of(values)
    assert list(values) == ["profile", *expected]
    for section, cls in expected.items():
        implied = PRESETS.get(values[section].get("preset"), {})
        assert set(values[section]) == {field.name for field in dataclasses.fields(cls)} - set(implied), (
            section
        )


@pytest.mark.parametrize("name", PROFILES)
def test_values_arrive_with_their_types(name):
    profile = load_profile(name)
    assert profile.name == name
    assert isinstance(profile.landmarks.lr, float)
    assert isinstance(profile.tables.attributes, tuple)
    assert profile.paths.world == ROOT / "data" / name
    assert profile.paths.weights == ROOT / "weights" / name
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.world.size = 1


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown profile 'portrait'.*nearest is 'portraits'"):
        load_profile("portrait")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r"^  width: .*", "  widht: 8", r"section landmarks: unknown key 'widht'; the nearest is 'width'"),
        (r"^  bootstrap: .*\n", "", r"section tables: missing key 'bootstrap'"),
        (r"^figures:", "figure:", r"unknown key 'figure'; the nearest is 'figures'"),
        (r"^  lr: .*", "  lr: 1e-4", r"section landmarks, lr: .*YAML reads 1e-4 as text, write 1.0e-4"),
        (r"^  lr: .*", "  lr: 3e5", r"YAML reads 3e5 as text, write 3.0e\+5"),
        (r"^  steps: .*", "  steps: 2.5", r"section landmarks, steps: got 2.5, expected a whole number"),
        (r"^  steps: .*", "  steps: true", r"steps: got True, expected a whole number"),
        (r"^  sampling: .*", "  sampling: gaussian", r"got 'gaussian', expected one of 'delta', 'uniform'"),
        (
            r"^    - Bald",
            "    - Blad",
            r"section tables, attributes: unknown attribute 'Blad'; the nearest is 'Bald'",
        ),
        (
            r"^profile: .*",
            "profile: portraits",
            r"profile is 'portraits', expected the file's own name 'smoke'",
        ),
        (r"^world:\n(  .*\n)+", "world: 3\n", r"section world: expected keys and values, got 3"),
        (r"^world:", "world: [", r"is not YAML"),
        (r"^  steps: 6", "  steps: 0", r"section landmarks, steps: got 0, expected at least 1"),
        (r"^  validate_every: 2", "  validate_every: 0", r"directions, validate_every: got 0, expected at"),
        (r"^  edited: null", "  edited: 0", r"section directions, edited: got 0, expected at least 1"),
        (r"^  attributes: all", "  attributes: [Male]", r"tables, attributes: got Bald, Black_Hair, "),
        (r"^  choice: 8", "  choice: 1", r"section figures, choice: got 1, expected at least 2, a face"),
        (r"^  survey_latents: 4", "  survey_latents: 9", r"survey_latents: got 9, expected at most 8"),
    ],
)
def test_wrong_input_gets_one_clear_line(edited, old, new, message):
    with pytest.raises(ValueError, match=message) as error:
        load_profile("smoke", root=edited(old, new))
    assert "\n" not in str(error.value)
    assert "profiles/smoke.yaml" in str(error.value)


def test_methods_differ_only_in_the_landmark_term_and_the_space():
    section = load_profile("portraits").directions
    resolved = {method: section.for_method(method) for method in METHODS}
    assert resolved["baseline"].lambda_landmark == resolved["baseline_w"].lambda_landmark == 0
    assert (
        resolved["hfld"].lambda_landmark == resolved["hfld_w"].lambda_landmark == section.lambda_landmark > 0
    )
    assert resolved["hfld"].space == "w+"
    assert resolved["hfld_w"].space == resolved["baseline_w"].space == "w"
    same = dataclasses.replace(resolved["hfld_w"], lambda_landmark=0.0, space="w+")
    assert same == resolved["baseline"]


def test_photographs_are_the_papers_setting():
    for name, size in (("ffhq256", 256), ("ffhq1024", 1024)):
        profile = load_profile(name)
        directions = profile.directions.resolved()
        assert (profile.world.size, profile.world.read_at, profile.landmarks.width) == (size, 256, 64)
        assert (directions.steps, directions.batch, directions.lr) == (50_000, 4, 1e-4)
        assert directions.schedule == "constant"
        weights = directions.lambda_regression, directions.lambda_content, directions.lambda_adversarial
        assert weights == (10, 0.05, 0.05)
        assert directions.attributes == "all"
        assert profile.tables.latents == 1000
        assert profile.directions.preset == "custom"  # spelled out
        printed = dataclasses.replace(profile.directions, preset="printed").resolved()
        assert (printed.lambda_landmark, printed.landmark_norm) == (0.5e6, "l1")


def test_a_preset_stands_for_keys_that_are_left_out(edited):
    root = edited(r"^  preset: custom\n(  steps: \d+)\n  batch: .*\n  lr: .*", r"  preset: official\n\1")
    written, read = load_profile("smoke").directions, load_profile("smoke", root=root).directions
    official = PRESETS["official"]
    assert (read.batch, read.lr) == (official["batch"], official["lr"]) != (written.batch, written.lr)
    assert read == dataclasses.replace(written, batch=read.batch, lr=read.lr)  # what is written counts more


def test_only_photographs_have_their_sections(edited):
    root = edited(r"^figures:", "attributes:\n  seed: 1\n\nfigures:")
    with pytest.raises(ValueError, match="unknown key 'attributes'"):
        load_profile("smoke", root=root)
    assert load_profile("smoke").attributes is None


def test_unknown_method_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown method 'hfdl'.*nearest.*'hfld'"):
        load_profile("smoke").directions.for_method("hfdl")


def test_root_is_found_from_below_and_missed_with_a_clear_error(tmp_path):
    assert config.find_root(ROOT / "notebooks") == ROOT
    with pytest.raises(FileNotFoundError, match=r"no folder with params.yaml and profiles/"):
        config.find_root(tmp_path)


def test_active_profiles_and_methods_exist():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(params["active"]) <= set(PROFILES)
    assert tuple(params["methods"]) == METHODS
