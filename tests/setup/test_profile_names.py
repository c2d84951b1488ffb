"""Which profiles a command is for: one parser reads params.yaml, and a wrong name is one line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hfld.config import ROOT


@pytest.fixture
def project(tmp_path) -> Path:
    """tools/ beside three profiles."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "profiles").mkdir()
    for name in ("portraits", "smoke", "smoke-ffhq"):
        (tmp_path / "profiles" / f"{name}.yaml").touch()
    write_params(tmp_path, "active: [portraits]")
    return tmp_path


def write_params(root: Path, active: str) -> None:
    (root / "params.yaml").write_text(f"# Profiles.\n{active}\nmethods:\n  - baseline\n")


def names(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "tools/profiles.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "active",
    [
        "active:\n  - portraits\n  - smoke-ffhq",
        "active:\n- portraits\n- smoke-ffhq",
        "active:\n      - portraits   # the drawn world\n      # - smoke\n\n      - 'smoke-ffhq'",
        "active: [portraits, smoke-ffhq]  # both",
        'active: [\n  "portraits",\n  smoke-ffhq,\n]',
        "active: &names\n  - portraits\n  - smoke-ffhq\nother: *names",
    ],
)
def test_any_yaml_gives_the_same(project, active):
    write_params(project, active)
    assert names(project).stdout == "portraits smoke-ffhq\n"
    assert names(project, "--active").stdout == "portraits smoke-ffhq\n"


def test_names_come_before_the_active_ones(project):
    assert names(project, "smoke", "smoke-ffhq").stdout == "smoke smoke-ffhq\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["potraits"], "no profile is called potraits; profiles/ has portraits, smoke, smoke-ffhq"),
        (["--active", "smoke"], "smoke is not active: params.yaml has portraits"),
    ],
)
def test_a_wrong_name_is_one_line(project, arguments, line):
    done = names(project, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{line}\n")


@pytest.mark.parametrize("active", ["active: portraits", "active: []", "activ: [portraits]", "active:"])
def test_what_is_no_list_of_profiles_is_one_line(project, active):
    write_params(project, active)
    done = names(project)
    assert done.returncode == 1
    assert done.stderr.startswith("params.yaml: active is ")
    assert len(done.stderr.splitlines()) == 1


def test_params_yaml_is_read_by_nothing_else():
    assert "params.yaml" not in "".join(
        line for line in (ROOT / "Makefile").read_text().splitlines() if not line.lstrip().startswith("#")
    )
    assert names(ROOT, "--active").returncode == 0
