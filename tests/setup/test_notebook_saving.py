"""JupyterLab saves notebooks as they are committed: opening one changes nothing that a stage reads."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import browser
import pytest

from hfld.config import ROOT

NOTEBOOKS = sorted(
    path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The notebooks, and one that is not in their folder."""
    root = tmp_path_factory.mktemp("project")
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("tools", "notebooks"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copy(NOTEBOOKS[0], root / "mine.ipynb")
    return root


def lab_options() -> list[str]:
    """What `make lab` says to its server."""
    shown = subprocess.run(["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True, check=True)
    words = shlex.split(shown.stdout.replace("\\\n", ""))
    return [word for word in words if word.startswith("--ServerApp")]


@pytest.fixture(scope="module")
def server(project):
    """The address of a server as `make lab` starts it, with the environment's configuration."""
    port = browser.free_port()
    arguments = [word for word in browser.LAB if "LabApp" not in word]
    arguments += [*lab_options(), f"--port={port}", "--config=tools/jupyter_server_config.py"]
    address = f"http://127.0.0.1:{port}"
    with browser.server(["jupyter_server", *arguments], project, address, "/api/status") as address:
        yield address


def contents(address: str, path: str, model: dict | None = None) -> dict:
    """Read or, with a model, save a file through the server."""
    data = model and json.dumps(model).encode()
    request = urllib.request.Request(
        f"{address}/api/contents/{path}", data=data, method="PUT" if data else "GET"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def opened_and_run(address: str, path: str) -> dict:
    """A notebook with what JupyterLab writes into it."""
    model = contents(address, path)
    notebook = model["content"]
    notebook["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.11.7"}
    notebook["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    for cell in notebook["cells"]:
        cell["metadata"] |= {"editable": True, "slideshow": {"slide_type": ""}}
        cell["metadata"].setdefault("tags", [])
        if cell["cell_type"] == "code":
            cell["execution_count"] = 7
            cell["metadata"] |= {
                "trusted": True,
                "execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"},
            }
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "shown\n"}]
    return model


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_saving_keeps_the_bytes(path, project, server):
    name = str(path.relative_to(ROOT))
    contents(server, name, opened_and_run(server, name))
    assert (project / name).read_bytes() == path.read_bytes()


def test_an_edit_is_saved(project, server):
    name = str(NOTEBOOKS[-1].relative_to(ROOT))
    before = (project / name).read_bytes()
    model = opened_and_run(server, name)
    model["content"]["cells"][0]["source"] = "# edited"
    contents(server, name, model)
    assert b"# edited" in (project / name).read_bytes()
    (project / name).write_bytes(before)


def test_notebooks_elsewhere_keep_their_outputs(project, server):
    contents(server, "mine.ipynb", opened_and_run(server, "mine.ipynb"))
    assert "shown" in (project / "mine.ipynb").read_text(encoding="utf-8")


def test_make_lab_serves_the_root(server):
    assert {"notebooks", "tools"} <= {entry["name"] for entry in contents(server, "")["content"]}


def strip(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "tools/strip_notebooks.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_make_strip_undoes_another_editor(tmp_path):
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / NOTEBOOKS[0].name
    notebook = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))
    notebook["metadata"]["language_info"] = {"name": "python"}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    done = strip(tmp_path, "--check")
    assert done.returncode == 1
    assert f"notebooks/{path.name}" in done.stderr
    assert strip(tmp_path).returncode == 0
    assert path.read_bytes() == NOTEBOOKS[0].read_bytes()
    assert strip(tmp_path, "--check").returncode == 0


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(
    browser.CHROMIUM is None and os.environ.get("HFLD_BROWSER") != "1", reason="no Chromium in PATH"
)
def test_opening_and_saving_in_jupyter_lab_changes_nothing(project, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(project / "tools"))
    name = NOTEBOOKS[0].relative_to(ROOT)
    file, text = project / name, NOTEBOOKS[0].read_bytes()
    file.write_bytes(text)
    os.utime(file, (1e9, 1e9))
    with (
        browser.jupyter_lab(project, tmp_path) as address,
        browser.page(project / "failed.png") as view,
    ):
        view.goto(f"{address}/lab/tree/{name}?reset")
        view.wait_for_selector(".jp-Notebook .jp-CodeCell")
        view.wait_for_selector("#jp-main-statusbar >> text=/\\| Idle/")
        view.keyboard.press("Control+s")
        for _ in range(600):
            if file.stat().st_mtime > 1e9:
                break
            view.wait_for_timeout(100)
    assert file.stat().st_mtime > 1e9
    assert file.read_bytes() == text
