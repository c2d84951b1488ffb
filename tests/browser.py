"""A Jupyter server and a headless Chromium for the tests of the editor."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import project_environment

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LAB = [
    "--no-browser",
    "--ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--IdentityProvider.token=",
    "--ServerApp.password=",
    "--ServerApp.disable_check_xsrf=True",
    "--allow-root",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
]  # for tests only: no token, reachable from this machine alone
VOILA = ["--no-browser", "--Voila.ip=127.0.0.1", "--show_tracebacks=True"]
START = 300  # seconds, on a busy machine


@contextmanager
def jupyter_lab(root: Path, settings: Path) -> Iterator[str]:
    """JupyterLab, dark, over the folder `root`; yields its address. `settings` is an empty folder."""
    overrides = {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark"},
        "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    }
    (settings / "overrides.json").write_text(json.dumps(overrides))
    port = free_port()
    arguments = [
        *LAB,
        f"--port={port}",
        f"--ServerApp.root_dir={root}",
        f"--LabApp.app_settings_dir={settings}",
    ]
    with server(["jupyterlab", *arguments], root, f"http://127.0.0.1:{port}", "/api/status") as address:
        yield address


@contextmanager
def jupyter_notebook(root: Path) -> Iterator[str]:
    """Notebook 7 over the folder `root`; yields its address."""
    port = free_port()
    arguments = [*LAB, f"--port={port}", f"--ServerApp.root_dir={root}"]
    with server(["notebook", *arguments], root, f"http://127.0.0.1:{port}", "/api/status") as address:
        yield address


@contextmanager
def voila(root: Path, notebook: str) -> Iterator[str]:
    """Voila over one notebook; yields its address."""
    port = free_port()
    arguments = ["voila", notebook, *VOILA, f"--port={port}"]
    with server(arguments, root, f"http://127.0.0.1:{port}", "/voila/static/voila.js") as address:
        yield address


@contextmanager
def server(arguments: list[str], root: Path, address: str, ready: str) -> Iterator[str]:
    """`python -m ...` in `root`, until the block ends."""
    log = root / f"{arguments[0]}.log"
    environment = {**project_environment(root), "JUPYTER_PLATFORM_DIRS": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=root, env=environment, stdout=output, stderr=output
        )
        try:
            wait_for(process, address + ready, log)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(process: subprocess.Popen, address: str, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"no answer from {address}: {log.read_text()[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def page(failure: Path, *, width: int = 1500, height: int = 1300):
    """A page of a headless Chromium; where the block fails, `failure` is a picture of what was there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            view = browser.new_page(viewport={"width": width, "height": height})
            view.set_default_timeout(1000 * START)
            try:
                yield view
            except Exception:
                view.screenshot(path=failure)
                raise
        finally:
            browser.close()


def run_all(view, address: str, notebook: str) -> None:
    """Open a notebook in JupyterLab and run its cells."""
    view.goto(f"{address}/lab/tree/{notebook}?reset")
    view.wait_for_selector(".jp-Notebook .jp-CodeCell")
    view.wait_for_selector("#jp-main-statusbar >> text=/\\| Idle/")
    _press_run_all(view)


def run_all_in_notebook_7(view, address: str, notebook: str) -> None:
    view.goto(f"{address}/notebooks/{notebook}")
    view.wait_for_selector(".jp-Notebook .jp-CodeCell")
    view.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", state="attached")
    _press_run_all(view)


def _press_run_all(view) -> None:
    view.click(".lm-MenuBar-itemLabel:text-is('Run')")
    view.click("text=Run All Cells")
