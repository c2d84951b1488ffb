"""Shared fixtures: a toy copy of the project in which the smoke profile can be run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Before torch is imported, here and in notebooks: two threads on tiny networks wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

from hfld.config import ROOT


@pytest.fixture(scope="session")
def smoke_root(tmp_path_factory) -> Path:
    """A folder with the code, notebooks and profiles of the project, and untrained networks in data/smoke."""
    root = tmp_path_factory.mktemp("project")
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("hfld", "notebooks", "profiles", "pretrain"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copyfile(ROOT / "params.yaml", root / "params.yaml")
    subprocess.run(
        [sys.executable, "-m", "pretrain.smoke"], cwd=root, env=project_environment(root), check=True
    )
    return root


def project_environment(root: Path) -> dict[str, str]:
    """Environment in which `import hfld` finds the copy in `root`."""
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return {**kept, "PYTHONPATH": str(root), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
