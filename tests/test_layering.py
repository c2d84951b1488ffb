"""Data flows one way: a module imports only what stands before it, and `hfld` stays thin."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from hfld.config import ROOT

LAYERS = (
    {"attributes", "images"},
    {"config", "networks"},
    {"checkpoints", "losses", "portraits", "faces"},
    {"models", "directions", "landmarks", "photos"},
    {"training", "inversion"},
    {"editors"},
    {"evaluation"},
    {"report", "augment"},
    {"studio"},
    {"tools"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

ALLOWED = {  # third parties that importing a room's modules may import
    "attributes": set(),
    "images": {"torch", "numpy"},
    "losses": {"torch", "numpy"},
    "networks": {"torch", "numpy"},
    "directions": {"torch", "numpy"},
    "training": {"torch", "numpy", "tqdm"},
    "editors": {"torch", "numpy", "tqdm"},
    "portraits": {"numpy", "scipy", "cv2", "PIL", "tqdm"},
}


def modules() -> list[Path]:
    """All of hfld/ and tools/."""
    paths = [*(ROOT / "hfld").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
    return sorted(path for path in paths if path != ROOT / "hfld" / "__init__.py")


def part(path: Path) -> str:
    """The room that a file belongs to: `editors` for hfld/editors/linear.py."""
    parts = path.relative_to(ROOT).parts
    return parts[parts[0] == "hfld"].removesuffix(".py")


def rooms(path: Path) -> set[str]:
    """The other rooms that a file imports from."""
    names = (name.split(".") for name in imported(path))
    found = {name[name[0] == "hfld"] for name in names if name[0] in ("hfld", "tools") and len(name) > 1}
    return found - {part(path)}


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


def test_every_room_has_its_place() -> None:
    assert {part(path) for path in modules()} <= set(LEVEL)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    above = {room for room in rooms(path) if LEVEL[room] > LEVEL[part(path)]}
    assert not above, f"{part(path)} imports from {sorted(above)}, which stand after it"


def test_rooms_of_a_layer_do_not_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {name: set() for name in LEVEL}
    for path in modules():
        edges[part(path)] |= rooms(path)
    done: set[str] = set()
    while todo := [name for name in edges if name not in done and edges[name] <= done]:
        done |= set(todo)
    assert done == set(edges), f"these import each other: {sorted(set(edges) - done)}"


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules()}
    edges = {name: imported(path, top_level=True) & set(paths) for name, path in paths.items()}
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


CORE = (
    "config",
    "networks",
    "losses",
    "checkpoints",
    "models",
    "landmarks",
    "editors",
    "training.directions",
)


def test_importing_the_core_does_not_import_the_tools() -> None:
    tools = (
        "matplotlib",
        "deepface",
        "openvino",
        "dlib",
        "cv2",
        "ipywidgets",
        "dvc",
        "papermill",
        "IPython",
        "pandas",
        "sklearn",
    )
    code = f"""
import sys, importlib
for name in {CORE}:
    importlib.import_module("hfld." + name)
print([name for name in {tools} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "names",
    [
        ("hfld.photos.own_photo", "hfld.photos.datasets", "hfld.photos.judges"),
        ("hfld.report.tables", "hfld.report.figures", "hfld.evaluation.evaluator"),
    ],
    ids=["photographs", "tables"],
)
def test_photographs_and_tables_need_no_drawing_no_downloader_no_cuda_graphs(names: tuple[str, ...]) -> None:
    unneeded = (
        "hfld.portraits.render",
        "hfld.portraits.parameters",
        "hfld.photos.fetch",
        "hfld.training.graphs",
    )
    code = f"""
import sys, importlib
for name in {names}:
    importlib.import_module(name)
print([name for name in {unneeded} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_top_shows_the_paper() -> None:
    top = [path for path in (ROOT / "hfld").iterdir() if path.is_file()]
    assert len(top) <= 9
    assert sum(len(path.read_text().splitlines()) for path in top) <= 1200


def test_files_stay_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in modules() if (n := len(p.read_text().splitlines())) > 400}
    assert not long
