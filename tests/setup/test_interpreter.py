"""Stages and the Makefile run the project's interpreter, whatever kernels and Pythons there are besides."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from hfld.config import ROOT

PIPELINES = ("dvc.yaml", "benchmark/dvc.yaml", "pretrain/dvc.yaml")


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with tools/ and no .venv: the interpreter is PATH's."""
    root = tmp_path / "a project"
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def launch(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, **variables}
    command = ["sh", "tools/python", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_another_kernel_of_the_same_name_runs_nothing(project):
    """Both places that Jupyter itself prefers to the environment's."""
    for place in ("path", "user"):
        kernel = project / place / "kernels" / "python3"
        kernel.mkdir(parents=True)
        argv = ["sh", "-c", f"touch '{project / 'ran'}'"]
        text = json.dumps({"argv": argv, "display_name": "another", "language": "python"})
        (kernel / "kernel.json").write_text(text)
    others = {"JUPYTER_PATH": str(project / "path"), "JUPYTER_DATA_DIR": str(project / "user")}
    cell = nbformat.v4.new_code_cell("import sys; print(sys.prefix)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), project / "one.ipynb")
    command = ("-m", "papermill", "-k", "python3", "--no-progress-bar", "one.ipynb", "out.ipynb")
    done = launch(project, *command, JUPYTER_PREFER_ENV_PATH="0", **others)
    assert done.returncode == 0, done.stderr
    assert not (project / "ran").exists()
    (output,) = nbformat.read(project / "out.ipynb", nbformat.NO_CONVERT).cells[0].outputs
    assert output.text.strip() == sys.prefix


def test_the_interpreter_is_that_of_the_environment(project):
    bin = project / ".venv" / "bin"
    bin.mkdir(parents=True)
    (bin / "python").write_text(f'#!/bin/sh\nVENV=here exec "{sys.executable}" "$@"\n')
    (bin / "python").chmod(0o755)
    done = launch(project, "-c", "import os; print(os.environ['VENV'])")
    assert done.stdout == "here\n"


@pytest.mark.parametrize("broken", ["dangling", "nothing"])
def test_an_interpreter_that_does_not_run_is_said_in_one_line(project, broken):
    (project / ".venv" / "bin").mkdir(parents=True)
    if broken == "dangling":
        (project / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    done = launch(project, "-c", "print('ran')")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("The project's Python does not run here: `make env`")


def commands() -> list[str]:
    """Every command line of the three pipelines."""
    found = []
    for name in PIPELINES:
        stages = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))["stages"]
        for stage in stages.values():
            found += stage["cmd"] if isinstance(stage["cmd"], list) else [stage["cmd"]]
    return found


def test_every_stage_is_launched_alike():
    assert len(commands()) >= len(PIPELINES)
    for command in commands():
        words = re.sub(r"[$()&|;]+", " ", command).split()
        calls = [k for k, word in enumerate(words) if word in ("python", "tools/python")]
        assert all(words[k - 1 : k + 2] == ["sh", "tools/python", "-m"] for k in calls), command
        scripts = {"papermill", "jupyter", "dvc", "torchrun"}
        assert all(words[k - 1] == "-m" for k, word in enumerate(words) if word in scripts), command


def test_make_calls_modules_and_no_scripts_of_the_environment():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"\.venv/bin/(\w+)", text)) == {"python"}
    assert "$(RUN) -m dvc repro" in text
