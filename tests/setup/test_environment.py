"""`make env` makes, keeps and remakes the environment: in a small copy of the project, without packages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hfld.config import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
PIP = """import os, sys, sysconfig
from pathlib import Path
if "--requirement" in sys.argv and "missing" in Path("requirements.txt").read_text():
    sys.exit("No matching distribution found")
if "--editable" in sys.argv:
    Path(sysconfig.get_path("purelib"), "toy.pth").write_text(os.getcwd())
"""
STAGE = """stages:
  one:
    cmd: sh tools/python -c 'import sys; open("out.txt", "w").write(sys.prefix)'
    outs: [out.txt]
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with the Makefile, tools/ and a package `toy`; its path has a space."""
    root = tmp_path / "a folder" / "project"
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", root)
    for name in (".dvc", ".git", "toy"):
        (root / name).mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    for name, text in {"requirements.txt": "", "pyproject.toml": "", "dvc.yaml": STAGE}.items():
        (root / name).write_text(text)
    (root / "toy" / "__init__.py").touch()
    return root


def write_script(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def run(tmp_path):
    """Run a command in a folder. New environments borrow the packages of the tests', with PIP for pip."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    (tmp_path / "modules" / "pip").mkdir(parents=True)
    (tmp_path / "modules" / "pip" / "__init__.py").touch()
    (tmp_path / "modules" / "pip" / "__main__.py").write_text(PIP)
    line = f'if [ "$2" = venv ]; then set -- "$@" --without-pip; fi; exec "{sys.executable}" "$@"'
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHON": str(write_script(tmp_path / "python", line)),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "modules"), *packages]),
    }

    def run(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
        done = {**environment, **variables}
        return subprocess.run(command, cwd=cwd, env=done, capture_output=True, text=True, check=False)

    return run


def made(done: subprocess.CompletedProcess) -> bool:
    """Whether `make env` succeeded by making a new environment."""
    assert done.returncode == 0, done.stdout + done.stderr
    return "a new .venv" in done.stdout


def imported(root: Path) -> Path:
    """Where the environment finds the project's package, from whatever folder."""
    code = "import sys, toy; print(toy.__file__)"
    python = root / ".venv" / "bin" / "python"
    found = subprocess.run([python, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def test_it_is_made_once_and_again_where_the_folder_goes(project, run):
    assert made(run("make", "env", cwd=project))
    assert imported(project) == project / "toy" / "__init__.py"
    again = run("make", "env", cwd=project)
    assert not made(again)
    assert "pip" not in again.stdout
    settings = project / ".venv" / "etc" / "jupyter" / "jupyter_server_config.py"
    assert settings.resolve() == project / "tools" / "jupyter_server_config.py"

    moved = project.rename(project.with_name("moved here"))
    assert made(run("make", "env", cwd=moved))
    assert imported(moved) == moved / "toy" / "__init__.py"
    assert not made(run("make", "env", cwd=moved))

    copied = shutil.copytree(moved, moved.with_name("copy"), symlinks=True)
    assert imported(copied) == moved / "toy" / "__init__.py"  # what a copy would run without being made again
    assert made(run("make", "env", cwd=copied))
    assert imported(copied) == copied / "toy" / "__init__.py"


def test_it_is_made_again_when_its_python_is_gone_or_another(project, run):
    assert made(run("make", "env", cwd=project))
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    assert made(run("make", "env", cwd=project))
    python.unlink()
    version = "import sys; sys.version_info = (3, 99); exec(sys.argv[2])"
    write_script(python, f'exec "{sys.executable}" -c \'{version}\' "$@"')
    assert made(run("make", "env", cwd=project))
    assert not made(run("make", "env", cwd=project))


def test_one_that_was_made_by_hand_is_kept(project, run):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=project, check=True)
    (project / ".venv" / "mine").touch()
    assert not made(run("make", "env", cwd=project))
    assert imported(project) == project / "toy" / "__init__.py"
    assert (project / ".venv" / "mine").exists()


def test_stages_run_with_and_without_git(project, run):
    (project / ".git").rmdir()
    assert made(run("make", "env", cwd=project))
    settings = project / ".dvc" / "config.local"
    assert "no_scm" in settings.read_text()
    done = run("sh", "tools/python", "-m", "dvc", "repro", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "out.txt").read_text() == str(project / ".venv")
    settings.unlink()
    (project / ".git").mkdir()
    assert not made(run("make", "env", cwd=project))
    assert not settings.exists()


def test_an_old_python_is_refused_before_anything_is_made(project, run, tmp_path):
    version = "import sys; sys.version_info = (3, 9, 18); exec(sys.argv[2])"
    old = write_script(tmp_path / "old", f'exec "{sys.executable}" -c \'{version}\' "$@"')
    done = run("make", "env", cwd=project, PYTHON=str(old))
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed, this is 3.9; try: make env PYTHON=python3.11" in done.stderr
    assert not (project / ".venv").exists()


def test_a_missing_network_is_said_in_one_line(project, run):
    (project / "requirements.txt").write_text("missing==1.0")
    done = run("make", "env", cwd=project)
    assert done.returncode != 0
    assert "is there a network? `make env` then goes on from here." in done.stderr
    (project / "requirements.txt").write_text("")
    assert not made(run("make", "env", cwd=project))  # goes on


def test_the_torch_build_stays_until_the_other_is_asked_for(project, run):
    assert made(run("make", "env", "TORCH=default", cwd=project))
    (stamp,) = (project / ".venv").glob(".installed-*-default")

    def planned(*options: str) -> str:
        return run("make", "-n", "env", *options, cwd=project).stdout

    assert "pip" not in planned()
    switched = planned("TORCH=cpu")
    assert f"rm -f .venv/{stamp.name} && .venv/bin/python -m pip uninstall" in switched
    assert switched.index("pip uninstall") < switched.index("pip install")
    (project / "requirements.txt").write_text("# other requirements, the same build")
    again = planned()
    assert re.search(r"touch \.venv/\.installed-\d+-default$", again, re.M)
    assert "uninstall" not in again
