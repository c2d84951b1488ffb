"""Configuration of JupyterLab in the project's environment, where `make env` links it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from strip_notebooks import before_saving

c = get_config()  # noqa: F821
c.ContentsManager.pre_save_hook = before_saving
