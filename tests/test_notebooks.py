"""Notebooks are short, say what they need, are committed stripped, and run in order on the smoke profile."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from closure import source
from conftest import project_environment

from hfld.config import METHODS, ROOT, load_profile
from hfld.editors import FITTED

NOTEBOOKS = sorted((ROOT / "notebooks").rglob("[!.]*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
FORBIDDEN = ("sys.path", "chdir", "!pip", "%pip", "/home/", "/root/")


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code(path: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code")


@EACH
def test_notebook_is_short_and_says_what_it_needs(path):
    first, *rest = cells(path)
    assert len(rest) < 20
    assert first["cell_type"] == "markdown"
    assert {"**Needs**", "**Takes**"} <= set(re.findall(r"\*\*\w+\*\*", "".join(first["source"])))
    nodes = list(ast.walk(ast.parse(source(path))))
    defined = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(defined) <= 3 and not any(isinstance(node, ast.ClassDef) for node in defined)
    assert [word for word in FORBIDDEN if word in code(path)] == []


def test_tables_are_written_through_a_temporary_file():
    """`to_csv` gives text, for `write_text`; given a path, it writes in place."""
    direct = [path.stem for path in NOTEBOOKS if re.search(r"\.to_csv\((?!index|\))", code(path))]
    assert not direct
    assert not [path.stem for path in NOTEBOOKS if '").write_text(' in code(path)]


@EACH
def test_notebook_takes_a_profile_and_at_most_a_method(path):
    tagged = ["".join(c["source"]) for c in cells(path) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    names = {target.id for node in ast.parse(tagged[0]).body for target in node.targets}
    assert names == ({"profile", "method"} if path.stem in ("02_directions", "editors") else {"profile"})


@EACH
def test_notebook_is_committed_stripped(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        assert set(cell["metadata"]) <= {"tags"}
    assert set(notebook["metadata"]) == {"kernelspec"}


@pytest.fixture(scope="module")
def executed(smoke_root):
    """Run the pipeline's notebooks in order, as the stages do; returns the folder they ran in."""
    runs = smoke_root / "runs" / "smoke"
    runs.mkdir(parents=True, exist_ok=True)
    jobs = [("01_landmarks", {}), *(("02_directions", {"method": method}) for method in METHODS)]
    fitted = {name.removesuffix("_lock") for name in load_profile("smoke").benchmark.methods} & set(FITTED)
    jobs += [("more/editors", {"method": method}) for method in sorted(fitted)]
    jobs += [("03_tables", {}), ("04_figures", {}), ("more/benchmark", {}), ("05_edit", {})]
    for name, extra in jobs:
        execute(smoke_root, name, **extra)
    return smoke_root


def execute(root: Path, name: str, **parameters: str) -> dict:
    """Execute a notebook on the smoke profile as a DVC stage does."""
    suffix = "".join(f"_{value}" for value in parameters.values())
    output = root / "runs" / "smoke" / f"{Path(name).name}{suffix}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "papermill",
        "-k",
        "python3",
        "--no-progress-bar",
        f"notebooks/{name}.ipynb",
    ]
    command += [str(output), "-p", "profile", "smoke"]
    for key, value in parameters.items():
        command += ["-p", key, value]
    done = subprocess.run(command, cwd=root, env=project_environment(root), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(output.read_text(encoding="utf-8"))


def shown(notebook: dict) -> set[str]:
    """MIME types of everything that a notebook displayed."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return {kind for output in outputs for kind in output.get("data", {})}


@pytest.mark.notebook
@pytest.mark.slow
def test_tour_runs_without_training(smoke_root):
    tour = execute(smoke_root, "00_tour")
    assert {"image/png", "text/html"} <= shown(tour)
    assert not (smoke_root / "weights" / "smoke" / "directions_tour.safetensors").exists()


@pytest.mark.notebook
@pytest.mark.slow
def test_notebooks_show_pictures_and_tables(executed):
    for path in (executed / "runs" / "smoke").glob("0*.ipynb"):
        assert {"image/png", "text/html"} <= shown(json.loads(path.read_text(encoding="utf-8"))), path.stem


@pytest.mark.notebook
@pytest.mark.slow
def test_the_readmes_lines_of_python_run(executed):
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = lines.replace('"portraits"', '"smoke"') + "assert set(rows['method']) >= {'hfld', 'none'}"
    command = [sys.executable, "-c", lines]
    environment = project_environment(executed)
    done = subprocess.run(command, cwd=executed, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.notebook
@pytest.mark.slow
def test_the_editor_opens_after_the_pipeline(executed):
    editor = json.loads((executed / "runs" / "smoke" / "05_edit.ipynb").read_text(encoding="utf-8"))
    assert "application/vnd.jupyter.widget-view+json" in shown(editor)


@pytest.mark.notebook
@pytest.mark.slow
def test_results_are_where_they_are_promised(executed):
    results, weights = executed / "results" / "smoke", executed / "weights" / "smoke"
    assert (weights / "landmarks.safetensors").is_file()
    for method in METHODS:
        assert (weights / f"directions_{method}.safetensors").is_file()
    for number in range(1, 6):
        for kind in ("csv", "md", "tex"):
            assert (results / "tables" / f"table{number}.{kind}").stat().st_size > 0
    for number in (1, 3, 4):
        assert (results / "figures" / f"figure{number}.png").stat().st_size > 0


@pytest.mark.notebook
@pytest.mark.slow
def test_the_benchmark_has_every_editor_and_its_cost(executed):
    folder = executed / "results" / "smoke" / "benchmark"
    config = load_profile("smoke").benchmark
    for name in ("benchmark.csv", "benchmark.md", "benchmark.tex", "matching.csv", "curves.csv"):
        assert (folder / name).stat().st_size > 0
    for name in ("figure5", "figure6", "emotion_tvd", "landmark_nme"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 0
    summary = json.loads((folder / "summary.json").read_text())
    for strength in ("native", "matched"):
        assert set(summary[strength]) == set(config.attributes)
        methods = summary[strength]["Bald"]
        assert {*config.methods, "none", "oracle"} <= set(methods)
        for method in config.methods:
            assert {
                "emotion_tvd",
                "landmark_nme:mouth",
                "latent_log_likelihood",
                "perceptual_distance",
            } <= set(methods[method])
            assert methods[method]["edit_ms"]["mean"] > 0
        assert "p_holm" in methods["adatrans_hfld - adatrans"]["emotion_tvd"]
    report = json.loads((executed / "results" / "smoke" / "editors" / "sefa.json").read_text())
    assert {"seconds", "flat", "moves", "failing", "directions"} <= set(report)


@pytest.mark.notebook
@pytest.mark.slow
def test_summary_has_the_promised_cells(executed):
    summary = json.loads((executed / "results" / "smoke" / "summary.json").read_text())
    male = summary["matched"]["Male"]
    for method in ("baseline", "hfld", "random", "none", "oracle"):
        for quantity in (
            "landmark_drift_px",
            "target_change",
            "emotion_tvd",
            "label_keep",
            "counterfactual_landmark_px",
        ):
            assert {"mean", "lo", "hi", "n"} <= set(male[method][quantity])
    assert {"mean", "lo", "hi", "n"} <= set(male["difference"]["emotion_tvd"])
