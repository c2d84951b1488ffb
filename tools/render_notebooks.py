"""Executed notebooks as Markdown with small pictures, for people who only browse: `make rendered`.

    python -m tools.render_notebooks runs/portraits docs/notebooks

A page for each of notebooks/, with its code and what it showed. Progress bars and widgets are left out.
"""

import argparse
import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from PIL import Image

from hfld.config import ROOT
from hfld.images import write_text

WIDTH = 900  # px of the widest picture
QUALITY = 80  # of JPEG
METHOD = {"02_directions": "_hfld"}  # of the notebook that is executed once a method


def render(executed: Path, folder: Path, name: str) -> Path:
    """Write <folder>/<name>.md and its pictures, <folder>/<name>/*.jpg; ValueError if a cell had failed."""
    notebook = nbformat.read(executed, as_version=4)
    injected = "injected-parameters"
    notebook.cells = [cell for cell in notebook.cells if injected not in cell.metadata.get("tags", ())]
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        if any(output.output_type == "error" for output in cell.outputs):
            raise ValueError(f"{executed}: a cell failed; run the notebook again")
        cell.outputs = [output for output in cell.outputs if is_shown(output)]
        for output in (output for output in cell.outputs if "text/html" in output.get("data", ())):
            html = output.data["text/html"]  # pages show the rules of a style as text
            output.data["text/html"] = re.sub(r"<style.*?</style>\n?", "", html, flags=re.DOTALL)
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # colours of a terminal
    shutil.rmtree(folder / name, ignore_errors=True)
    for picture, data in resources["outputs"].items():
        small = Path(name) / f"{Path(picture).stem}.jpg"
        (folder / small).parent.mkdir(parents=True, exist_ok=True)
        (folder / small).write_bytes(shrunk(data))
        text = text.replace(f"({picture})", f"({small.as_posix()})")
    source = f"*[notebooks/{name}.ipynb](../../notebooks/{name}.ipynb), executed.*\n\n"
    write_text(folder / f"{name}.md", source + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")
    return folder / f"{name}.md"


def is_shown(output: nbformat.NotebookNode) -> bool:
    """Not progress bars, and no widgets, of which a page shows nothing but their names."""
    kinds = output.get("data", ())
    return output.get("name") != "stderr" and not any("widget-view" in kind for kind in kinds)


def shrunk(data: bytes) -> bytes:
    """A picture file as a JPEG of at most WIDTH px, on white."""
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    picture.thumbnail((WIDTH, 4 * WIDTH))
    page = Image.new("RGB", picture.size, "white")
    page.paste(picture, mask=picture)
    out = io.BytesIO()
    page.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.render_notebooks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("runs", type=Path, help="folder of executed notebooks, such as runs/portraits")
    parser.add_argument("folder", type=Path, help="where the pages go, such as docs/notebooks")
    options = parser.parse_args(arguments)
    names = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    executed = {name: options.runs / f"{name}{METHOD.get(name, '')}.ipynb" for name in names}
    missing = [str(path) for path in executed.values() if not path.is_file()]
    if missing:
        parser.error(f"not there: {', '.join(missing)}; `make rendered` executes what is missing")
    for name, path in executed.items():
        print(render(path, options.folder, name))


if __name__ == "__main__":
    main()
