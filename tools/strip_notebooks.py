"""Notebooks as they are committed: no outputs, no counts, of the metadata only tags and the kernel's name.

A stage depends on the bytes of its notebook, and JupyterLab changes them by merely opening it. In the
environment of `make env` it strips what it saves in notebooks/; for other editors there is `make strip`.
"""

import argparse
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def strip(notebook: dict) -> None:
    """Strip a notebook of format 4 in place."""
    notebook["metadata"] = {"kernelspec": KERNEL}
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None


def before_saving(model, path, contents_manager, **_) -> None:
    """The pre_save_hook of jupyter_server: strips notebooks of this project's notebooks/, and no others."""
    if model["type"] == "notebook" and FOLDER in Path(contents_manager.root_dir, path).resolve().parents:
        strip(model["content"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only name those that are not stripped")
    check = parser.parse_args().check
    found = []
    for path in sorted(FOLDER.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        notebook = nbformat.reads(text, nbformat.NO_CONVERT)
        strip(notebook)
        stripped = nbformat.writes(notebook) + "\n"
        if stripped != text:
            found.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(stripped, encoding="utf-8")
    if check and found:
        sys.exit(f"not stripped, `make strip` does it: {', '.join(found)}")
    print(*found, sep="\n", end="\n" if found else "")


if __name__ == "__main__":
    main()
