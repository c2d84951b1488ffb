"""Data flows one way: a module imports only what stands before it, and `hfld` stays thin."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from hfld.config import ROOT

LAYERS = (
    {"attributes"},
    {"config", "host", "parallel", "portraits", "fetch"},
    {"data", "networks", "alignment", "photos", "cascades", "datasets", "augmentation"},
    {"checkpoints", "losses", "decoding"},
    {
        "training",
        "inversion",
        "models",
        "landmarks",
        "pictures",
        "directions",
        "edits",
        "graphs",
        "matrix",
        "attribute_nets",
        "photo_training",
        "own_photo",
    },
    {"editors"},
    {
        "references",
        "judges",
        "photo_judges",
        "official",
        "quantities",
        "stats",
        "rows",
        "matching",
        "evaluation",
        "worlds",
        "tabular",
        "tables",
        "labels",
        "summary",
        "sweeps",
        "editor_checks",
        "benchmark",
        "benchmark_tables",
    },
    {
        "figures",
        "plots",
        "gallery",
        "report",
        "sweeps",
        "hardware",
        "bench",
        "inversion_check",
        "precision_check",
    },
    {"studio"},
    {"export", "arrangement", "sliders", "photo_panel", "save_panel", "widgets"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

ALLOWED = {  # third parties that a layer's modules may import when they are imported
    "portraits": {"numpy", "scipy", "cv2", "PIL", "tqdm"},
    "networks": {"torch", "numpy"},
    "losses": {"torch", "numpy"},
    "training": {"torch", "numpy", "tqdm"},
    "editors": {"torch", "numpy", "tqdm"},
}


def modules() -> list[Path]:
    return sorted(path for path in (ROOT / "hfld").rglob("*.py") if path != ROOT / "hfld" / "__init__.py")


def part(path: Path) -> str:
    """The name under hfld/ that a file belongs to: `editors` for hfld/editors/linear.py."""
    return path.relative_to(ROOT / "hfld").parts[0].removesuffix(".py")


def imported(path: Path, *, top_level: bool = False) -> set[str]:
    """Dotted names that a file imports; with `top_level` only those that importing the file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    assert part(path) in LEVEL, f"{part(path)} has no place in LAYERS"
    for name in imported(path):
        if name.startswith("hfld.") and (other := name.split(".")[1]) != part(path):
            assert LEVEL[other] <= LEVEL[part(path)], (
                f"hfld.{part(path)} imports hfld.{other}, which stands after it"
            )


def test_no_cycle_within_a_layer() -> None:
    edges = {p: set() for p in LEVEL}
    for path in modules():
        edges[part(path)] |= {n.split(".")[1] for n in imported(path) if n.startswith("hfld.")} - {part(path)}
    done: set[str] = set()
    while todo := [name for name in edges if name not in done and edges[name] <= done]:
        done |= set(todo)
    assert done == set(edges), f"these import each other: {sorted(set(edges) - done)}"


@pytest.mark.parametrize(
    "path", [p for p in modules() if part(p) in ALLOWED], ids=lambda p: str(p.relative_to(ROOT))
)
def test_third_parties_stay_thin(path: Path) -> None:
    roots = (
        {name.split(".")[0] for name in imported(path, top_level=True)}
        - set(sys.stdlib_module_names)
        - {"hfld"}
    )
    assert roots <= ALLOWED[part(path)]


def test_importing_the_core_does_not_import_the_tools() -> None:
    tools = ("matplotlib", "deepface", "ipywidgets", "dvc", "papermill", "IPython", "pandas", "sklearn")
    code = f"""
import sys, importlib
for name in ("config", "networks", "losses", "checkpoints", "training", "directions", "landmarks", "editors"):
    importlib.import_module("hfld." + name)
print([name for name in {tools} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_files_stay_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in modules() if (n := len(p.read_text().splitlines())) > 400}
    assert not long
