"""Files larger than a notebook server's own limit reach the kernel, and what is too large is said."""

import asyncio
import json
import re
import subprocess
import urllib.request
from contextlib import suppress

import browser
import nbformat
import pytest
from tornado.websocket import WebSocketClosedError, websocket_connect
from toy_studio import toy_engine

from hfld.config import ROOT, load_profile
from hfld.studio import file_formats, phrases
from hfld.studio.own_face import Search, find_own_face
from hfld.studio.session import Session

SLACK = 60.0  # seconds that a busy machine may take
LARGE = 12 << 20  # bytes: above what a server takes by itself


def setting(target: str) -> str:
    """The option that `make lab` or `make editor` gives its server."""
    shown = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
    (option,) = re.findall(r"--\w+\.tornado_settings='[^']*'", shown.stdout)
    return option.replace("'", "", 1).removesuffix("'")


async def answered(address: str, kernel: str) -> bool:
    """Send a request that carries LARGE bytes; whether the kernel answers."""
    socket = await websocket_connect(f"{address.replace('http', 'ws')}/api/kernels/{kernel}/channels")
    header = {"msg_id": "large", "msg_type": "kernel_info_request", "version": "5.3", "session": "s",
              "username": "", "date": "2026-01-01T00:00:00Z"}  # fmt: skip
    request = {"header": header, "parent_header": {}, "metadata": {"filling": "x" * LARGE}, "content": {},
               "channel": "shell", "buffers": []}  # fmt: skip
    with suppress(WebSocketClosedError):  # while it is sent
        await socket.write_message(json.dumps(request))
    found = False
    while (message := await asyncio.wait_for(socket.read_message(), SLACK)) is not None:
        if isinstance(message, str) and json.loads(message)["msg_type"] == "kernel_info_reply":
            found = True
            socket.close()  # its end is the last message
    socket.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("raised", [True, False])
def test_a_large_file_passes_jupyters_server(tmp_path, raised):
    port = browser.free_port()
    arguments = [name for name in browser.LAB if "LabApp" not in name]
    arguments += [f"--port={port}", f"--ServerApp.root_dir={tmp_path}", *([setting("lab")] if raised else [])]
    (tmp_path / "jupyter_server.log").touch()
    with browser.server(
        ["jupyter_server", *arguments], tmp_path, f"http://127.0.0.1:{port}", "/api/status"
    ) as address:
        request = urllib.request.Request(f"{address}/api/kernels", data=b"{}", method="POST")
        with urllib.request.urlopen(request, timeout=SLACK) as answer:
            kernel = json.load(answer)["id"]
        assert asyncio.run(answered(address, kernel)) is raised


@pytest.mark.slow
def test_a_large_file_passes_voila(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), tmp_path / "one.ipynb")
    port = browser.free_port()
    arguments = ["voila", "one.ipynb", *browser.VOILA, f"--port={port}", setting("editor")]
    ready = "/voila/static/voila.js"
    with browser.server(arguments, tmp_path, f"http://127.0.0.1:{port}", ready) as address:
        with urllib.request.urlopen(address, timeout=SLACK) as page:
            (kernel,) = set(re.findall(r'"kernelId": "([0-9a-f-]+)"', page.read().decode()))
        assert asyncio.run(answered(address, kernel))


def test_the_limit_is_said_before():
    assert phrases.uploads({"HFLD_UPLOADS": str(256 << 20)}) == "files of at most 64 MB"
    assert phrases.uploads({"HFLD_UPLOADS": str(20 << 20)}) == "files of at most 20 MB"
    for unknown in ({}, {"HFLD_UPLOADS": "many"}):
        assert phrases.uploads(unknown).startswith("files of at most 10 MB, which is where most")
        assert "`make lab` raises it" in phrases.uploads(unknown)
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "lab editor: export HFLD_UPLOADS := $(UPLOADS)" in text


def test_what_is_too_large_is_said_in_plain_words(monkeypatch):
    monkeypatch.setattr(file_formats, "MAX_UPLOAD", 1 << 20)
    words = "this picture has 2 MB; files of at most 1 MB are opened"
    with pytest.raises(ValueError, match=words):
        Session(toy_engine()).load("me.jpg", bytes(2 << 20))
    engine = toy_engine(inversion=load_profile("smoke").inversion)
    with pytest.raises(ValueError, match=words):
        find_own_face(engine, Search("me.jpg", bytes(2 << 20)))
