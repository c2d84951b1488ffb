"""Profiles are typed and strict, and every wrong one gets one clear line."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
import yaml

from hfld import config
from hfld.config import METHODS, PHOTO_SECTIONS, ROOT, SECTIONS, load_profile

PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))


def written(name):
    return yaml.safe_load((ROOT / "profiles" / f"{name}.yaml").read_text(encoding="utf-8"))


def resolved(profile):
    """(section, key) -> value."""
    sections = {name: vars(profile)[name] for name in PHOTO_SECTIONS if vars(profile)[name] is not None}
    return {(name, key): value for name, section in sections.items() for key, value in vars(section).items()}


@pytest.fixture
def copied(tmp_path):
    """A root with the profiles."""
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    return tmp_path


@pytest.fixture
def edited(copied):
    """edited(old, new, name) -> a root whose smoke (or other) profile has that text replaced."""

    def edit(old, new, name="smoke"):
        path = copied / "profiles" / f"{name}.yaml"
        text = path.read_text(encoding="utf-8")
        assert re.search(old, text, flags=re.M)
        path.write_text(re.sub(old, new, text, count=1, flags=re.M), encoding="utf-8")
        return copied

    return edit


@pytest.mark.parametrize("name", PROFILES)
def test_every_section_is_in_the_file(name):
    """DVC refuses `params` that a file lacks, whatever their defaults."""
    sections = PHOTO_SECTIONS if load_profile(name).world.kind == "ffhq" else SECTIONS
    assert [key for key in written(name) if key not in ("profile", "base")] == list(sections)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_says_only_what_differs(name, copied):
    values, whole = written(name), resolved(load_profile(name))
    for section in set(values) & set(PHOTO_SECTIONS):
        for key in values[section].keys() - {"kind", "preset"}:
            shorter = {**values, section: {k: v for k, v in values[section].items() if k != key}}
            (copied / "profiles" / f"{name}.yaml").write_text(yaml.safe_dump(shorter), encoding="utf-8")
            with suppress(ValueError):  # a key without a default, or one that others need
                assert resolved(load_profile(name, root=copied)) != whole, (
                    f"{section}, {key} says nothing new"
                )


def test_a_based_profile_is_its_base_and_what_it_says():
    base, other = resolved(load_profile("ffhq256")), resolved(load_profile("ffhq1024"))
    assert {key: value for key, value in other.items() if value != base[key]} == {
        ("world", "size"): 1024,
        ("world", "weights"): "data/ffhq1024",
        ("world", "generator"): "ffhq.pkl",
        ("tables", "validation_latents"): 100,
        ("tables", "survey_latents"): 48,
        ("tables", "curve_latents"): 60,
    }
    base, other = load_profile("smoke"), load_profile("smoke-ffhq")
    for section in set(SECTIONS) - {"world"}:
        own = {k: tuple(v) if isinstance(v, list) else v for k, v in written("smoke-ffhq")[section].items()}
        assert vars(getattr(other, section)) == vars(getattr(base, section)) | own, section


def test_a_base_must_be_another_profile(edited):
    with pytest.raises(ValueError, match=r"profiles/ffhq1024.yaml: unknown profile 'ffhq25'.*'ffhq256'"):
        load_profile("ffhq1024", root=edited(r"^base: ffhq256", "base: ffhq25", "ffhq1024"))
    with pytest.raises(ValueError, match=r"profiles/ffhq1024.yaml: profile 'ffhq1024' is its own base"):
        load_profile("ffhq1024", root=edited(r"^base: ffhq25", "base: ffhq1024", "ffhq1024"))


@pytest.mark.parametrize("name", PROFILES)
def test_values_arrive_with_their_types(name):
    profile = load_profile(name)
    assert profile.name == name
    assert isinstance(profile.landmarks.lr, float)
    assert isinstance(profile.directions.lambda_regression, float)
    assert isinstance(profile.tables.attributes, tuple)
    assert isinstance(profile.styleflow.hidden, tuple)
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
        (r"^  size: .*\n", "", r"section world, size: missing"),
        (r"^figures:", "figure:", r"unknown section 'figure'; the nearest is 'figures'"),
        (r"^interfacegan:\n.*\n", "", r"section interfacegan is missing"),
        (r"^  lr: .*", "  lr: 1e-4", r"section directions, lr: got '1e-4', .*as text, write 1.0e-4"),
        (r"^  lr: .*", "  lr: 3E5", r"got '3E5', expected a valid number; YAML reads 1e-4 as text, write"),
        (r"^  lr: .*", "  lr: fast", r"got 'fast', expected a valid number$"),
        (r"^  lr: .*", "  lr: true", r"lr: got True, expected a valid number"),
        (r"^  steps: .*", "  steps: 2.5", r"section landmarks, steps: got 2.5, expected a valid integer"),
        (r"^  steps: .*", "  steps: true", r"steps: got True, expected a valid integer"),
        (r"^  whiten: .*", "  whiten: 1", r"whiten: got 1, expected a valid boolean"),
        (r"^  refresh: 3", "  sampling: gaussian", r"got 'gaussian', expected 'delta' or 'uniform'"),
        (r"^  refresh: 3", "  preset: own", r"preset: got 'own', expected 'custom', 'paper', 'official' or "),
        (
            r"attributes: \[Bald",
            "attributes: [Blad",
            r"section benchmark, attributes: unknown attribute 'Blad'; the nearest is 'Bald'",
        ),
        (
            r"^  refresh: 3",
            "  attributes: [Blad]",
            r"section directions, attributes: unknown attribute 'Blad'; the nearest is 'Bald'",
        ),
        (r"^  refresh: 3", "  attributes: 3", r"directions, attributes: got 3, expected 'all' or "),
        (
            r"^profile: .*",
            "profile: portraits",
            r"profile is 'portraits', expected the file's own name 'smoke'",
        ),
        (r"^world:\n(  .*\n)+", "world: 3\n", r"section world: expected keys and values, got 3"),
        (r"^world:", "world: [", r"profiles/smoke.yaml: while parsing"),
        (r"(?s).*", "3", r"expected sections, got 3"),
        (r"^  steps: 6", "  steps: 0", r"section landmarks, steps: got 0, expected greater than 0"),
        (r"^  validate_every: 2", "  validate_every: 0", r"directions, validate_every: got 0, expected gr"),
        (r"^  refresh: 3", "  edited: 0", r"section directions, edited: got 0, expected greater than 0"),
        (r"^  refresh: 3", "  attributes: [Male]", r"tables, attributes: got Bald, Black_Hair, expected"),
        (
            r"^  steps: 3\n\nbench",
            "  choice: 1\n\nbench",
            r"figures, choice: got 1, expected at least 2, a face",
        ),
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
        directions = profile.directions
        assert (profile.world.size, profile.world.read_at, profile.landmarks.width) == (size, 256, 64)
        assert (directions.steps, directions.batch, directions.lr) == (50_000, 4, 1e-4)
        assert (directions.start, directions.schedule, directions.pool) == ("random", "constant", 0)
        assert (directions.sampling, directions.discriminator) == ("delta", "trained")
        weights = directions.lambda_regression, directions.lambda_content, directions.lambda_adversarial
        assert weights == (10, 0.05, 0.05)
        assert (directions.lambda_landmark, directions.landmark_norm) == (768, "l1")
        assert directions.attributes == "all"
        assert profile.tables.latents == 1000


@pytest.mark.parametrize(
    ("preset", "differs"),
    [
        ("printed", {"lambda_landmark": 0.5e6}),
        ("official", {"sampling": "uniform", "discriminator": "random"}),
    ],
)
def test_a_preset_stands_for_keys_that_are_left_out(edited, preset, differs):
    paper = load_profile("ffhq256").directions
    root = edited("preset: paper", f"preset: {preset}", "ffhq256")
    assert load_profile("ffhq256", root=root).directions == dataclasses.replace(paper, **differs)
    root = edited("^  precision: tf32", "  lambda_landmark: 1.0\n  discriminator: trained", "ffhq256")
    read = load_profile("ffhq256", root=root).directions
    assert (read.lambda_landmark, read.discriminator) == (1.0, "trained")  # what is written counts more


def test_only_photographs_have_their_sections(edited):
    root = edited(r"^figures:", "attributes:\n  seed: 1\n\nfigures:")
    with pytest.raises(ValueError, match="unknown section 'attributes'"):
        load_profile("smoke", root=root)
    assert load_profile("smoke").attributes is None


def test_unknown_method_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown method 'hfdl'.*nearest.*'hfld'"):
        load_profile("smoke").directions.for_method("hfdl")


def test_root_is_found_from_below(tmp_path, monkeypatch):
    assert config.find_root(tmp_path, ROOT / "notebooks") == ROOT
    monkeypatch.chdir(tmp_path)
    assert config.find_root(tmp_path) == tmp_path  # no clone: where one stands


def test_outside_a_clone_a_profile_is_given_by_its_path(tmp_path):
    """As after `pip install .`: no params.yaml and no profiles/ above the package or the working folder."""
    shutil.copytree(ROOT / "hfld", tmp_path / "site" / "hfld", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "here").mkdir()
    code = f"""
from hfld.config import load_profile
try:
    load_profile("portraits")
except ValueError as error:
    print(error)
print(load_profile({str(ROOT / "profiles" / "ffhq1024.yaml")!r}).paths.weights)
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    said, weights = found.stdout.splitlines()
    assert "no profile in" in said
    assert "start in a clone of the repository, or give the path of a profile" in said
    assert weights == str(tmp_path / "here" / "weights" / "ffhq1024")


def test_active_profiles_and_methods_exist():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(params["active"]) <= set(PROFILES)
    assert tuple(params["methods"]) == METHODS
