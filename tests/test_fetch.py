import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from hfld.config import ROOT
from hfld.fetch import ITEMS, Item, fetch, main, needed, present

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
QUIET = {"progress": False, "timeout": 5.0}


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content`, with ranges; cuts the connection after the next number in `server.cuts`."""

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if self.path == "/gone":
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if self.headers.get("If-Range", server.etag) != server.etag:
            start = 0
        if start >= len(server.content):
            return self.send_error(416)
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.ranges, server.etag, server.cuts, server.asked = CONTENT, True, '"one"', [], []
    server.url = f"http://127.0.0.1:{server.server_port}/file"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def nobody():
    """An address on this machine where nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/file"


def item(*urls, sha256=DIGEST, name="net.pkl", **more):
    return Item(f"data/official/{name}", f"the file {name}", ("ffhq256",), urls, sha256, **more)


def names(folder):
    return sorted(path.name for path in (folder / "data" / "official").iterdir())


def test_a_file_is_fetched_once(server, tmp_path):
    wanted = item(server.url)
    assert not present(wanted, tmp_path)
    assert fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET) == {}
    assert (tmp_path / wanted.path).read_bytes() == CONTENT
    assert fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET) == {}
    assert server.asked == [None]
    assert names(tmp_path) == ["net.pkl"]


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [100_000, 50_000]
    assert fetch(["ffhq256"], root=tmp_path, items=[item(server.url)], **QUIET) == {}
    assert (tmp_path / "data/official/net.pkl").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


@pytest.mark.parametrize("sha256", [DIGEST, ""])
def test_an_abandoned_download_is_resumed_by_the_next_call(server, tmp_path, sha256):
    server.cuts = [100_000, 0]
    wanted = item(server.url, sha256=sha256)
    (reason,) = fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET).values()
    assert "the connection ends before the file does" in reason
    assert names(tmp_path) == ["net.pkl.part", "net.pkl.part.etag"]
    assert fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET) == {}
    assert (tmp_path / wanted.path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=100000-"


def test_a_part_of_another_version_is_not_continued(server, tmp_path):
    server.cuts = [100_000, 0]
    wanted = item(server.url, sha256="")
    fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET) == {}
    assert (tmp_path / wanted.path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("known", [True, False])
def test_a_server_without_ranges_or_tags_starts_again(server, tmp_path, known):
    server.ranges, server.etag, server.cuts = False, "", [100_000]
    wanted = item(server.url, sha256=DIGEST if known else "")
    assert fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET) == {}
    assert (tmp_path / wanted.path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-" if known else None]


def test_a_complete_part_is_checked_and_taken(server, tmp_path):
    wanted = item(server.url)
    (tmp_path / "data/official").mkdir(parents=True)
    (tmp_path / "data/official/net.pkl.part").write_bytes(CONTENT)
    assert fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET) == {}
    assert server.asked == ["bytes=300000-"]
    assert (tmp_path / wanted.path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_carries_the_name(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    missing = fetch(["ffhq256"], root=tmp_path, items=[item(server.url)], **QUIET)
    assert f"expected {DIGEST}" in next(iter(missing.values()))
    assert names(tmp_path) == []


def test_the_beginning_of_a_checksum_is_enough(server, tmp_path):
    assert fetch(["ffhq256"], root=tmp_path, items=[item(server.url, sha256=DIGEST[:8])], **QUIET) == {}
    missing = fetch(["ffhq256"], root=tmp_path, items=[item(server.url, sha256="00000000")], **QUIET)
    assert "expected 00000000; delete it" in next(iter(missing.values()))


def test_an_unknown_checksum_is_recorded_on_first_use(server, tmp_path):
    wanted = item(server.url, sha256="")
    assert fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET) == {}
    assert (tmp_path / f"{wanted.path}.sha256").read_text().split() == [DIGEST, "net.pkl"]
    (tmp_path / wanted.path).write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"expected {DIGEST}; delete it and fetch it again"):
        present(wanted, tmp_path)
    (tmp_path / wanted.path).unlink()
    server.content = b"something else"
    assert "expected" in next(iter(fetch(["ffhq256"], root=tmp_path, items=[wanted], **QUIET).values()))
    assert names(tmp_path) == ["net.pkl.sha256"]


def test_the_next_address_is_tried(server, nobody, tmp_path):
    gone = server.url.replace("file", "gone")
    assert fetch(["ffhq256"], root=tmp_path, items=[item(nobody, gone, server.url)], **QUIET) == {}
    missing = fetch(
        ["ffhq256"],
        root=tmp_path,
        items=[item(gone, name="lost.pkl"), item(server.url, name="found.pkl")],
        **QUIET,
    )
    assert [wanted.path for wanted in missing] == [
        "data/official/lost.pkl"
    ]  # the others are fetched all the same
    assert "Not Found" in next(iter(missing.values()))


def test_without_a_network_everything_is_listed_at_once(nobody, tmp_path, capsys):
    items = [
        item(nobody, name="first.pkl"),
        item(nobody, name="second.pkl"),
        Item("data/lapa", "faces", ("ffhq256",), page="https://example.org/form"),
        item(nobody, name="spare.pkl", optional=True),
        Item("data/other", "of another profile", ("ffhq1024",), page="https://example.org/other"),
    ]
    began = time.monotonic()
    assert main(["ffhq256"], root=tmp_path, items=items) == 1
    assert time.monotonic() - began < 5
    said = capsys.readouterr().err
    assert "first.pkl: not reached" in said
    assert "second.pkl: not tried" in said
    assert "faces: to be had by hand\n    from  https://example.org/form" in said
    assert f"to    {tmp_path / 'data/lapa'}" in said
    assert "spare" not in said and "other" not in said
    main(["ffhq256", "--all"], root=tmp_path, items=items)
    assert "spare.pkl (optional): not tried" in capsys.readouterr().err


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        wanted = item(f"http://127.0.0.1:{silent.getsockname()[1]}/file")
        began = time.monotonic()
        missing = fetch(["ffhq256"], root=tmp_path, items=[wanted], timeout=0.2, progress=False)
    assert "timed out" in missing[wanted]
    assert time.monotonic() - began < 5


def test_what_was_had_by_hand_counts(tmp_path, capsys):
    folder = Item("data/lapa", "faces", ("ffhq256",), page="https://example.org/form")
    (tmp_path / "data/lapa").mkdir(parents=True)
    assert fetch(["ffhq256"], root=tmp_path, items=[folder]) == {folder: "to be had by hand"}
    (tmp_path / "data/lapa/train").mkdir()
    assert main(["ffhq256"], root=tmp_path, items=[folder]) == 0
    assert "Everything is there" in capsys.readouterr().out


def test_profiles():
    assert needed("portraits") == []
    assert {wanted.path for wanted in needed("ffhq256")} < {
        wanted.path for wanted in needed("ffhq256", everything=True)
    }
    with pytest.raises(ValueError, match="'ffhq265'; the nearest is 'ffhq256'"):
        needed("ffhq265")


def test_the_table_is_whole():
    assert len({wanted.path for wanted in ITEMS}) == len(ITEMS)
    for wanted in ITEMS:
        assert bool(wanted.urls) != bool(wanted.page), f"{wanted.path}: fetched or had by hand"
        assert all(url.startswith("https://") for url in (*wanted.urls, wanted.page) if url)
        assert wanted.path.startswith("data/") and not wanted.path.startswith("data/portraits")
        assert (ROOT / wanted.path).relative_to(ROOT)
        if "download.pytorch.org" in "".join(wanted.urls):
            assert wanted.sha256.startswith(wanted.path.split("-")[-1].removesuffix(".pth"))
        assert len(wanted.sha256) in (0, 64)
