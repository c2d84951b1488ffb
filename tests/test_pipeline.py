"""dvc.yaml: stages depend on their notebook and on exactly the code it imports; the rest of the mechanics."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from closure import closure

from hfld.config import METHODS, ROOT, SECTIONS, load_profile
from hfld.editors import FITTED, TRAINED

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
BENCHMARK_FILE = yaml.safe_load((ROOT / "benchmark" / "dvc.yaml").read_text(encoding="utf-8"))
BENCHMARK = BENCHMARK_FILE["stages"]
STAGES = PIPELINE | BENCHMARK
NOTEBOOKS = {
    "landmarks": "01_landmarks",
    "directions": "02_directions",
    "tables": "03_tables",
    "figures": "04_figures",
    "editors": "more/editors",
    "benchmark": "more/benchmark",
}


def code_deps(stage: str) -> set[str]:
    return {dep for dep in STAGES[stage]["deps"] if dep.startswith("hfld/")}


@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_deps_are_the_notebook_and_exactly_its_imports(stage):
    notebook = f"notebooks/{NOTEBOOKS[stage]}.ipynb"
    assert notebook in STAGES[stage]["deps"]
    assert "papermill -k python3" in STAGES[stage]["cmd"]
    assert notebook in STAGES[stage]["cmd"]
    assert code_deps(stage) == closure(ROOT / notebook)


PRETRAIN = yaml.safe_load((ROOT / "pretrain" / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.mark.parametrize("stage", list(PRETRAIN))
def test_pretraining_depends_on_its_code(stage):
    scripts = set(re.findall(r"python -m pretrain\.(\w+)", str(PRETRAIN[stage]["cmd"])))
    code = {dep for dep in PRETRAIN[stage]["deps"] if not dep.endswith(".safetensors")}
    assert scripts
    assert code == set().union(
        *(closure(ROOT / "pretrain" / f"{s}.py") | {f"pretrain/{s}.py"} for s in scripts)
    )


def test_the_report_depends_on_its_code():
    assert code_deps("report") == closure(ROOT / "hfld" / "report" / "page.py")


@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_params_are_sections_of_the_profile(stage):
    (entry,) = STAGES[stage]["params"]
    ((path, keys),) = entry.items()
    sections = set(keys)  # whole: DVC refuses keys that a profile leaves to their defaults
    assert path == "profiles/${item.profile}.yaml"
    assert sections <= set(SECTIONS)
    assert stage in sections
    code = " ".join(_code(ROOT / "notebooks" / f"{NOTEBOOKS[stage]}.ipynb"))
    used = {section for section in SECTIONS if f"profile.{section}" in code or f"settings.{section}" in code}
    assert used <= sections


def test_every_stage_runs_for_the_active_profiles():
    assert set(STAGES) == {*NOTEBOOKS, "report"}
    for name in NOTEBOOKS:
        assert STAGES[name]["matrix"]["profile"] == "${active}", name
    assert PIPELINE["directions"]["matrix"]["method"] == "${methods}"
    made = {out for stage in PIPELINE.values() for out in stage.get("outs", []) if isinstance(out, str)}
    assert "weights/${item.profile}/directions_${item.method}.safetensors" in made
    for stage in ("tables", "figures"):
        needed = {dep for dep in PIPELINE[stage]["deps"] if "directions_" in dep}
        assert needed <= {f"weights/${{item.profile}}/directions_{method}.safetensors" for method in METHODS}
        assert needed


def test_the_benchmark_is_a_pipeline_of_its_own():
    assert set(BENCHMARK) == {"editors", "benchmark"}
    assert all(stage["wdir"] == ".." for stage in BENCHMARK.values())
    assert "../params.yaml:active" in BENCHMARK_FILE["vars"]
    assert "benchmark/dvc.yaml" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_benchmark_compares_what_is_fitted():
    (fitted,) = (entry["fitted"] for entry in BENCHMARK_FILE["vars"] if isinstance(entry, dict))
    assert set(fitted) <= set(FITTED)
    assert BENCHMARK["editors"]["matrix"]["method"] == "${fitted}"
    sections = BENCHMARK["editors"]["params"][0]["profiles/${item.profile}.yaml"]
    with_settings = {name.removesuffix("_hfld") if name in TRAINED else name for name in fitted} & set(
        SECTIONS
    )
    assert with_settings <= set(sections)
    made = {f"weights/${{item.profile}}/editor_{name}.safetensors" for name in fitted}
    assert made == {
        dep for dep in BENCHMARK["benchmark"]["deps"] if dep.startswith("weights/") and "/editor_" in dep
    }
    matrices = {dep.split("directions_")[1] for dep in BENCHMARK["benchmark"]["deps"] if "directions_" in dep}
    for profile in ("portraits", "smoke"):
        asked = {name.removesuffix("_lock") for name in load_profile(profile).benchmark.methods}
        settings = load_profile(profile)
        assert set(settings.benchmark.attributes) <= set(settings.tables.attributes)  # what is learned
        assert asked <= {*fitted, *(name.removesuffix(".safetensors") for name in matrices), "random"}


def test_no_stage_writes_to_data_or_runs():
    for name, stage in STAGES.items():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                path = out if isinstance(out, str) else next(iter(out))
                assert path.split("/")[0] in ("weights", "results", "REPORT.md"), f"{name}: {path}"
                if not path.startswith("weights/"):
                    assert isinstance(out, dict), f"{name}: {path} is not in git"
                    assert out[path]["cache"] is False, f"{name}: {path} is not in git"


def test_ignored_and_tracked():
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"/data/", "/weights/", "/runs/", ".venv/"} <= set(ignored)
    assert "/results/" not in ignored
    assert {"/store", "/runs", "__pycache__"} <= set((ROOT / ".dvcignore").read_text().split())
    assert "store/** -text" in (ROOT / ".gitattributes").read_text()
    assert "url = ../store" in (ROOT / ".dvc" / "config").read_text()


def test_store_holds_what_data_dvc_names():
    (out,) = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"]
    assert out["path"] == "data/portraits"
    store = ROOT / "store" / "files" / "md5"
    listing = json.loads((store / out["md5"][:2] / out["md5"][2:]).read_text())
    objects = [store / entry["md5"][:2] / entry["md5"][2:] for entry in listing]
    assert all(path.is_file() for path in objects)
    assert sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) <= 30_000_000


def test_requirements_pin_everything_that_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {
        line.split("==")[0].lower()
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line
    }
    extras = project["optional-dependencies"]
    for requirement in (*project["dependencies"], *(name for extra in extras.values() for name in extra)):
        assert re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower() in pins, requirement
    assert len([name for name in pins if name.startswith("opencv")]) == 1


def _code(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
