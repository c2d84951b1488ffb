import base64
import io

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tools.render_notebooks import WIDTH, render


def executed(folder, *outputs):
    cells = [new_markdown_cell("# A title"), new_code_cell("show()", outputs=list(outputs))]
    path = folder / "03_tables.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def picture(width):
    out = io.BytesIO()
    Image.new("RGBA", (width, 20), (255, 0, 0, 255)).save(out, "PNG")
    return new_output("display_data", data={"image/png": base64.b64encode(out.getvalue()).decode()})


def test_code_text_and_pictures_are_shown_and_progress_is_not(tmp_path):
    path = executed(
        tmp_path,
        new_output("stream", name="stderr", text="landmarks: 100%"),
        new_output("stream", name="stdout", text="two faces"),
        new_output("execute_result", data={"text/html": "<style scoped>.x {}</style><b>7</b>"}),
        new_output(
            "display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Box()"}
        ),
        new_output("execute_result", data={"text/plain": "a <style> in a text"}),
        picture(2 * WIDTH),
    )
    page = render(path, tmp_path / "docs", "03_tables")
    text = page.read_text()
    assert page.name == "03_tables.md"
    for shown in ("# A title", "show()", "two faces", "<b>7</b>", "in a text"):
        assert shown in text
    assert not [hidden for hidden in ("100%", "scoped", "Box") if hidden in text]
    (file,) = (tmp_path / "docs" / "03_tables").iterdir()
    assert f"(03_tables/{file.name})" in text
    with Image.open(file) as small:
        assert small.format == "JPEG" and small.width == WIDTH
        assert small.getpixel((5, 5))[0] > 240


def test_pictures_of_an_earlier_run_go(tmp_path):
    render(executed(tmp_path, picture(30), picture(40)), tmp_path / "docs", "03_tables")
    render(executed(tmp_path, picture(30)), tmp_path / "docs", "03_tables")
    assert len(list((tmp_path / "docs" / "03_tables").iterdir())) == 1


def test_a_failed_cell_is_refused(tmp_path):
    path = executed(tmp_path, new_output("error", ename="ValueError", evalue="no", traceback=["no"]))
    with pytest.raises(ValueError, match="a cell failed"):
        render(path, tmp_path / "docs", "03_tables")
