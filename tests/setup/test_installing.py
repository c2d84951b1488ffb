"""`pip install .` is light: what the paper needs, and no pipeline; the package says that it is typed."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from importlib.metadata import packages_distributions, requires

import pytest
from packaging.requirements import Requirement

from hfld.config import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = ("attributes", "losses", "config", "networks", "checkpoints", "models", "directions", "landmarks",
        "training", "editors", "inversion")  # fmt: skip
TOOLS = {"jupyterlab", "ipykernel", "dvc", "celery", "papermill", "pytest", "pandas", "matplotlib"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needs(lines: list[str] | None) -> list[Requirement]:
    """The requirements that hold on this machine, without extras."""
    found = [Requirement(line) for line in lines or []]
    return [need for need in found if need.marker is None or need.marker.evaluate({"extra": ""})]


def installed() -> set[str]:
    """Names of the distributions that `pip install .` brings, the dependencies of dependencies among them."""
    done: set[str] = set()
    todo = needs(PROJECT["dependencies"])
    while todo:
        name = todo.pop().name
        if normal(name) not in done:
            done.add(normal(name))
            todo += needs(requires(name))
    return done


def test_the_core_brings_no_tools():
    assert {"torch", "numpy", "safetensors", "pydantic", "pyyaml"} <= installed()
    assert not installed() & TOOLS


def test_what_a_pinned_package_needs_is_pinned():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normal(line.split("==")[0]) for line in lines if "==" in line}
    asked = {normal(need.name) for name in pinned for need in needs(requires(name))}
    assert not asked - pinned


def test_the_core_imports_with_its_dependencies_alone():
    """All other packages of the environment are hidden."""
    kept = {*installed(), "hfld"}
    hidden = [name for name, owners in packages_distributions().items() if not {*map(normal, owners)} & kept]
    assert {"pandas", "dvc", "IPython"} <= set(hidden)
    code = f"""
import importlib, json, sys
hidden = set(json.loads(sys.stdin.read()))
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
for name in {CORE}:
    importlib.import_module("hfld." + name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=json.dumps(hidden), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheel_is_whole(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "hfld", tmp_path / "hfld", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "wheels"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "wheels").glob("hfld-*.whl")
    wheel = zipfile.ZipFile(path)
    packed = {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
    files = {path for kind in ("*.py", "*.csv", "*.css", "py.typed") for path in (ROOT / "hfld").rglob(kind)}
    assert packed == {str(path.relative_to(ROOT)) for path in files}
    assert "hfld/py.typed" in packed
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    urls = message_from_bytes(wheel.read(metadata)).get_all("Project-URL")
    assert "Paper, https://arxiv.org/abs/2505.06436" in urls
