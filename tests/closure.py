"""Which files of hfld/ (and pretrain/) a notebook or script imports, directly and through others."""

import ast
import json
import sys
from pathlib import Path

from hfld.config import ROOT

WHOLE = ("config", "portraits", "networks", "checkpoints", "editors")
"""Packages that enter a stage's deps as folders: their modules find each other by name."""


def source(path: Path) -> str:
    """The code of a notebook or a Python file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return "\n".join("".join(line for line in lines if not line.startswith("%")) for lines in cells)


def imported_files(path: Path) -> set[Path]:
    """Files of the project that the code names in an import statement, at any depth of the code."""
    names = set()
    for node in ast.walk(ast.parse(source(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    found = set()
    for name in names:
        if name.startswith(("hfld.", "pretrain.")):
            base = ROOT / Path(*name.split("."))
            found |= {p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()}
    return found


def closure(path: Path) -> set[str]:
    """Paths relative to ROOT, as dvc.yaml lists them: files, packages as folders, tables they read."""
    seen: set[Path] = set()
    todo = {path}
    while todo:
        current = todo.pop()
        seen.add(current)
        files = imported_files(current)
        for file in set(files):
            if file.parent.name in WHOLE:
                files |= set(file.parent.glob("*.py"))
        todo |= files - seen
    seen.discard(path)
    tables = {t for p in seen for t in p.parent.glob("*.csv") if t.name in p.read_text(encoding="utf-8")}
    whole = {p.parent for p in seen if p.parent.name in WHOLE}
    plain = {p for p in seen | tables if p.parent not in whole}
    return {str(p.relative_to(ROOT)) for p in plain | whole}


if __name__ == "__main__":
    print("\n".join(sorted(closure(Path(sys.argv[1]).resolve()))))
