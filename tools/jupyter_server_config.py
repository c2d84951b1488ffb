"""Configuration of JupyterLab in the project's environment, where `make env` links it."""

import importlib.util
from pathlib import Path

# By its path: another checkout's configuration may have been read before.
path = Path(__file__).resolve().with_name("strip_notebooks.py")
spec = importlib.util.spec_from_file_location("strip_notebooks", path)
strip_notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(strip_notebooks)

c = get_config()  # noqa: F821
c.ContentsManager.pre_save_hook = strip_notebooks.before_saving
