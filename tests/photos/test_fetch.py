import errno
import hashlib
import re
import socket
import threading
import time
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import yaml

from hfld.config import ROOT
from hfld.networks.deepface import SIDES
from hfld.photos.fetch import EMOTION, IDENTITY, ITEMS, Item, download, fetch, main, needed, present
from hfld.photos.judges import WEIGHTS

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
        if self.path == "/login":
            return self.send(200, b"please log in", {"Content-Type": "text/html; charset=utf-8"})
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if self.headers.get("If-Range", server.etag) != server.etag:
            start = 0
        if start >= len(server.content):
            return self.send_error(416)
        body = server.content[start:]
        cut = server.cuts.pop(0) if server.cuts else None
        self.send(206 if start else 200, body, {"ETag": server.etag} if server.etag else {}, cut)

    def send(self, status, body, headers, cut=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])

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
    return Item(f"data/official/{name}", f"the file {name}", urls, sha256, **more)


def names(folder):
    return sorted(path.name for path in (folder / "data" / "official").iterdir())


def test_a_file_is_fetched_once(server, tmp_path):
    wanted = item(server.url)
    assert not present(wanted, tmp_path)
    assert fetch([wanted], root=tmp_path, **QUIET) == {}
    assert (tmp_path / wanted.path).read_bytes() == CONTENT
    assert fetch([wanted], root=tmp_path, **QUIET) == {}
    assert server.asked == [None]
    assert names(tmp_path) == ["net.pkl"]


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [100_000, 50_000]
    assert fetch([item(server.url)], root=tmp_path, **QUIET) == {}
    assert (tmp_path / "data/official/net.pkl").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


@pytest.mark.parametrize("sha256", [DIGEST, ""])
def test_an_abandoned_download_is_resumed_by_the_next_call(server, tmp_path, sha256):
    server.cuts = [100_000, 0]
    wanted = item(server.url, sha256=sha256)
    (reason,) = fetch([wanted], root=tmp_path, **QUIET).values()
    assert "the connection ends before the file does" in reason
    assert names(tmp_path) == ["net.pkl.part", "net.pkl.part.etag"]
    assert fetch([wanted], root=tmp_path, **QUIET) == {}
    assert (tmp_path / wanted.path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=100000-"


def test_a_part_of_another_version_is_not_continued(server, tmp_path):
    server.cuts = [100_000, 0]
    wanted = item(server.url, sha256="")
    fetch([wanted], root=tmp_path, **QUIET)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert fetch([wanted], root=tmp_path, **QUIET) == {}
    assert (tmp_path / wanted.path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("known", [True, False])
def test_a_server_without_ranges_or_tags_starts_again(server, tmp_path, known):
    server.ranges, server.etag, server.cuts = False, "", [100_000]
    wanted = item(server.url, sha256=DIGEST if known else "")
    assert fetch([wanted], root=tmp_path, **QUIET) == {}
    assert (tmp_path / wanted.path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-" if known else None]


def test_a_complete_part_is_checked_and_taken(server, tmp_path):
    wanted = item(server.url)
    (tmp_path / "data/official").mkdir(parents=True)
    (tmp_path / "data/official/net.pkl.part").write_bytes(CONTENT)
    assert fetch([wanted], root=tmp_path, **QUIET) == {}
    assert server.asked == ["bytes=300000-"]
    assert (tmp_path / wanted.path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_carries_the_name(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    missing = fetch([item(server.url)], root=tmp_path, **QUIET)
    assert f"expected {DIGEST}" in next(iter(missing.values()))
    assert names(tmp_path) == []


def test_the_beginning_of_a_checksum_is_enough(server, tmp_path):
    assert fetch([item(server.url, sha256=DIGEST[:8])], root=tmp_path, **QUIET) == {}
    missing = fetch([item(server.url, sha256="00000000")], root=tmp_path, **QUIET)
    assert "expected 00000000; delete it" in next(iter(missing.values()))


def test_an_unknown_checksum_is_recorded_on_first_use(server, tmp_path):
    wanted = item(server.url, sha256="")
    assert fetch([wanted], root=tmp_path, **QUIET) == {}
    assert (tmp_path / f"{wanted.path}.sha256").read_text().split() == [DIGEST, "net.pkl"]
    (tmp_path / wanted.path).write_bytes(b"something else")
    with pytest.raises(ValueError, match=rf"expected {DIGEST}; delete it .* or delete .*net.pkl.sha256"):
        present(wanted, tmp_path)


def test_a_record_of_a_file_that_is_gone_is_void(server, tmp_path):
    wanted = item(server.url, sha256="")
    place = tmp_path / wanted.path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"a wrong file, put there by hand")
    assert fetch([wanted], root=tmp_path, **QUIET) == {}
    place.unlink()
    assert fetch([wanted], root=tmp_path, **QUIET) == {}
    assert place.read_bytes() == CONTENT
    assert (tmp_path / f"{wanted.path}.sha256").read_text().split() == [DIGEST, "net.pkl"]
    (tmp_path / f"{wanted.path}.sha256").write_text("00 net.pkl")
    place.unlink()
    download(wanted, place, **QUIET)
    assert place.read_bytes() == CONTENT
    place.unlink()
    by_hand = item(sha256="")
    assert list(fetch([by_hand], root=tmp_path, **QUIET).values()) == ["to be had by hand"]
    place.write_bytes(b"another one by hand")
    assert fetch([by_hand], root=tmp_path, **QUIET) == {}


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b"\n <!DOCTYPE HTML><p>quota exceeded"])
def test_a_web_page_is_not_the_file(server, tmp_path, page):
    wanted, content = item(server.url, sha256=""), server.content
    server.content = page
    (reason,) = fetch([wanted], root=tmp_path, **QUIET).values()
    assert "is a web page, expected net.pkl; it was not kept" in reason
    assert names(tmp_path) == []
    place = tmp_path / wanted.path
    place.write_bytes(page)
    (reason,) = fetch([wanted], root=tmp_path, **QUIET).values()
    assert "net.pkl is a web page, expected net.pkl; delete it and fetch it again" in reason
    assert names(tmp_path) == ["net.pkl"]
    place.unlink()
    server.content = content
    assert fetch([wanted], root=tmp_path, **QUIET) == {}


def test_an_address_that_answers_with_a_page_is_passed_over(server, tmp_path):
    login = server.url.replace("file", "login")
    (reason,) = fetch([item(login, sha256="")], root=tmp_path, **QUIET).values()
    assert reason == f"{login}: answered with a web page (text/html), not with the file"
    assert names(tmp_path) == []
    assert fetch([item(login, server.url, sha256="")], root=tmp_path, **QUIET) == {}
    assert (tmp_path / "data/official/net.pkl").read_bytes() == CONTENT


def test_the_next_address_is_tried(server, nobody, tmp_path):
    gone = server.url.replace("file", "gone")
    assert fetch([item(nobody, gone, server.url)], root=tmp_path, **QUIET) == {}
    lost, found = item(gone, name="lost.pkl"), item(server.url, name="found.pkl")
    missing = fetch([lost, found], root=tmp_path, **QUIET)
    assert list(missing) == [lost]  # the others are fetched all the same
    assert "Not Found" in missing[lost]
    server.content = CONTENT[::-1]
    missing = fetch([item(server.url, gone, name="other.pkl")], root=tmp_path, **QUIET)
    assert re.search("sha256 is .*; .*Not Found", next(iter(missing.values())))


def test_a_host_that_does_not_answer_stops_no_other(server, nobody, tmp_path):
    items = [item(nobody, name="first.pkl"), item(nobody, name="second.pkl"), item(server.url)]
    items.append(item(nobody, server.url, name="mirrored.pkl"))
    missing = fetch(items, root=tmp_path, **QUIET)
    assert [wanted.path.split("/")[-1] for wanted in missing] == ["first.pkl", "second.pkl"]
    assert missing[items[0]].startswith(f"not reached ({nobody}: ")
    assert missing[items[1]] == "not tried (its host did not answer)"
    assert names(tmp_path) == ["mirrored.pkl", "net.pkl"]
    asked, host = len(server.asked), server.url.split("/")[2]
    with pytest.raises(ConnectionError):
        download(item(server.url, nobody), tmp_path / "more.pkl", silent={host}, **QUIET)
    assert len(server.asked) == asked


OFFLINE = (socket.gaierror(socket.EAI_NONAME, "unknown"), OSError(errno.ENETUNREACH, "unreachable"))


@pytest.mark.parametrize("reason", OFFLINE)
def test_without_a_network_everything_is_listed_at_once(monkeypatch, tmp_path, capsys, reason):
    asked = []

    def urlopen(request, timeout):
        asked.append(request.full_url)
        raise urllib.error.URLError(reason)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    write_profile(tmp_path)
    assert main(["ffhq256"], root=tmp_path) == 1
    assert len(asked) == 1 and "1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO" in asked[0]
    said = capsys.readouterr().err
    assert f"(rosinality): not reached ({asked[0]}: {reason})\n    from  {asked[0]}" in said
    assert "    from  https://github.com/rosinality/stylegan2-pytorch" in said  # where a person gets it
    assert "VGG-19 of the content loss (torchvision): not tried (no network)" in said
    assert "(research use): to be had by hand\n    from  https://github.com/jd-opensource" in said
    assert f"to    {tmp_path / 'data/lapa'}" in said
    assert said.count("    to    ") == len(needed("ffhq256"))
    assert "paper256" not in said and "(optional)" not in said
    main(["ffhq256", "--all"], root=tmp_path)
    assert "(NVIDIA, non-commercial) (optional): not tried" in capsys.readouterr().err


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        wanted = item(f"http://127.0.0.1:{silent.getsockname()[1]}/file")
        began = time.monotonic()
        missing = fetch([wanted], root=tmp_path, timeout=0.2, progress=False)
    assert "timed out" in missing[wanted]
    assert time.monotonic() - began < 5


def test_what_was_had_by_hand_counts(tmp_path):
    lapa = Item("data/lapa", "faces", page="https://example.org/form", holds=("train", "test"))
    folder = tmp_path / "data/lapa"
    for part in ("train/images", "test"):
        (folder / part).mkdir(parents=True)
    (folder / ".DS_Store").touch()
    for empty in (lapa, replace(lapa, holds=())):
        assert fetch([empty], root=tmp_path) == {empty: "to be had by hand"}
    (folder / "train/images/1.jpg").touch()
    assert fetch([lapa], root=tmp_path) == {lapa: "no file is in test, expected some in train, test"}
    assert fetch([replace(lapa, holds=())], root=tmp_path) == {}
    (folder / "test/1.jpg").touch()
    assert fetch([lapa], root=tmp_path) == {}


def write_profile(root, name="ffhq256", **world):
    """profiles/ffhq256.yaml with other values in `world`, in a folder of its own."""
    values = yaml.safe_load((ROOT / "profiles" / "ffhq256.yaml").read_text())
    text = yaml.safe_dump({**values, "profile": name, "world": {**values["world"], **world}})
    (root / "profiles").mkdir(exist_ok=True)
    (root / "profiles" / f"{name}.yaml").write_text(text)


def paths(*arguments, **options):
    return {wanted.path for wanted in needed(*arguments, **options)}


def test_needed_is_what_the_profile_names(tmp_path):
    official = "vgg19-dcbb9e9d.pth", "celeba_resnet50.pth", "550000.pt"
    deepface = "facial_expression_model_weights.pth", "arcface_weights.pth"
    usual = {
        *(f"data/official/{name}" for name in official),
        *(f"data/official/.deepface/weights/{name}" for name in deepface),
        "data/lapa",
        "data/celeba",
    }
    assert paths("ffhq256") == usual
    assert paths("ffhq1024") == usual - {"data/official/550000.pt"} | {"data/official/ffhq.pkl"}
    for world, more, less in (
        ({"regressor": None}, set(), {"data/official/celeba_resnet50.pth"}),
        ({"landmark_set": "jd", "landmark_folder": "data/jd"}, {"data/jd"}, {"data/lapa"}),
        ({"landmark_folder": "/photos/lapa"}, {"/photos/lapa"}, {"data/lapa"}),
        ({"generator": "mine.pt"}, {"data/official/mine.pt"}, {"data/official/550000.pt"}),
        (
            {"generator": "ffhq-res256-mirror-paper256-noaug.pkl"},
            {"data/official/ffhq-res256-mirror-paper256-noaug.pkl"},
            {"data/official/550000.pt"},
        ),
        (
            {"identity": "judge.safetensors"},
            {"data/official/judge.safetensors"},
            {"data/official/.deepface/weights/arcface_weights.pth"},
        ),
    ):
        write_profile(tmp_path, "my256", **world)
        assert paths("my256", root=tmp_path) == usual - less | more
        assert not any(wanted.optional for wanted in needed("my256", root=tmp_path))
    write_profile(tmp_path, "my256", official="elsewhere")
    moved = {wanted.path: wanted for wanted in needed("my256", root=tmp_path, everything=True)}
    assert moved["elsewhere/vgg19-dcbb9e9d.pth"].sha256.startswith("dcbb9e9d")
    assert not [path for path in moved if path.startswith("data/official")]


def test_a_copied_profile_is_not_there(tmp_path, capsys):
    write_profile(tmp_path, "my256", generator="mine.pt")
    items = [replace(wanted, urls=()) for wanted in ITEMS]
    assert main(["my256"], root=tmp_path, items=items) == 1
    said = capsys.readouterr().err
    assert (
        "what world.generator of profile my256 names: to be had by hand\n    from  where its author" in said
    )
    assert said.count("    to    ") == 7


def test_everything_is_there(tmp_path, capsys):
    write_profile(tmp_path, regressor=None)
    for wanted in needed("ffhq256", root=tmp_path):
        place = tmp_path / wanted.path
        for path in (
            [place / part / "1.jpg" for part in wanted.holds or ("",)] if not place.suffix else [place]
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    items = [replace(wanted, sha256="") for wanted in ITEMS]
    assert main(["ffhq256"], root=tmp_path, items=items) == 0
    assert capsys.readouterr().out == "Everything is there.\n"


def test_optional_is_what_else_fits_the_profile():
    more = {wanted.path for wanted in needed("ffhq256", everything=True) if wanted.optional}
    assert more == paths("ffhq256", everything=True) - paths("ffhq256")
    assert {"data/official/ffhq-res256-mirror-paper256-noaug.pkl", "data/jd", "data/ffhq"} < more
    assert "data/official/ffhq.pkl" not in more  # of another size
    assert "data/official/stylegan2-ffhq-config-f.pkl" in paths("ffhq1024", everything=True)


def test_profiles_that_need_nothing_are_told_so(capsys):
    assert needed("portraits", everything=True) == []
    assert main(["portraits", "smoke"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{name} is not on photographs: nothing is fetched for it." for name in ("portraits", "smoke")
    ]
    with pytest.raises(ValueError, match=r"'ffhq265'.*; the nearest is 'ffhq256'"):
        needed("ffhq265")


def test_what_is_made_here_is_not_downloaded():
    for wanted in needed("smoke-ffhq", everything=True):
        assert wanted.path.startswith("data/smoke-ffhq/")
        assert not wanted.urls and wanted.page == "`python -m pretrain.smoke_ffhq`"


def test_files_of_deepface_are_where_its_readers_look():
    assert {name: f".deepface/weights/{WEIGHTS[name]}" for name in SIDES} == IDENTITY
    assert f".deepface/weights/{WEIGHTS['Emotion']}" == EMOTION


def test_the_table_is_whole():
    assert len({wanted.path for wanted in ITEMS}) == len(ITEMS)
    for wanted in ITEMS:
        assert wanted.urls or wanted.page, f"{wanted.path}: fetched or had by hand"
        assert all(url.startswith("https://") for url in (*wanted.urls, wanted.page) if url)
        assert wanted.path.startswith("data/") and not wanted.path.startswith("data/portraits")
        assert (ROOT / wanted.path).relative_to(ROOT)
        if "download.pytorch.org" in "".join(wanted.urls):
            assert wanted.sha256.startswith(wanted.path.split("-")[-1].removesuffix(".pth"))
        assert len(wanted.sha256) in (0, 64)
