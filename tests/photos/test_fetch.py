import hashlib
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from hfld.config import load_profile
from hfld.networks.deepface import SIDES
from hfld.photos import fetch as module
from hfld.photos.fetch import CHUNK, ITEMS, Item, fetch, main, needed, present
from hfld.photos.judges import IDENTITY

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


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
        if start >= len(server.content):
            return self.send_error(416)
        body = server.content[start:]
        cut = server.cuts.pop(0) if server.cuts else None
        self.send(206 if start else 200, body, {}, cut)

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
    server.content, server.ranges, server.cuts, server.asked = CONTENT, True, [], []
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
    assert fetch([wanted, wanted], root=tmp_path) == {}
    assert (tmp_path / wanted.path).read_bytes() == CONTENT
    assert fetch([wanted, replace(wanted, sha256="")], root=tmp_path) == {}
    assert server.asked == [None]
    assert names(tmp_path) == ["net.pkl"]


def test_an_interrupted_download_of_a_known_file_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [2 * CHUNK, CHUNK]
    for _ in range(2):
        (reason,) = fetch([item(server.url)], root=tmp_path).values()
        assert "IncompleteRead" in reason
        assert names(tmp_path) == ["net.pkl.part"]
    assert fetch([item(server.url)], root=tmp_path) == {}
    assert (tmp_path / "data/official/net.pkl").read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={2 * CHUNK}-", f"bytes={3 * CHUNK}-"]
    assert names(tmp_path) == ["net.pkl"]


@pytest.mark.parametrize("known", [True, False])
def test_a_server_without_ranges_and_a_file_of_no_known_digest_start_again(server, tmp_path, known):
    server.ranges, server.cuts = not known, [CHUNK]
    wanted = item(server.url, sha256=DIGEST if known else "")
    assert list(fetch([wanted], root=tmp_path)) == [wanted]
    server.content = CONTENT if known else CONTENT[::-1]  # nobody could tell that the part is of another file
    assert fetch([wanted], root=tmp_path) == {}
    assert (tmp_path / wanted.path).read_bytes() == server.content
    assert server.asked == [None, f"bytes={CHUNK}-" if known else None]


def test_a_complete_part_is_checked_and_taken(server, tmp_path):
    wanted = item(server.url)
    (tmp_path / "data/official").mkdir(parents=True)
    (tmp_path / "data/official/net.pkl.part").write_bytes(CONTENT)
    assert fetch([wanted], root=tmp_path) == {}
    assert server.asked == ["bytes=300000-"]
    assert (tmp_path / wanted.path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_carries_the_name(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    (reason,) = fetch([item(server.url)], root=tmp_path).values()
    assert DIGEST in reason
    assert names(tmp_path) == []


def test_another_file_of_that_name_is_fetched_again(server, tmp_path):
    place = tmp_path / item(server.url).path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"cut off")
    assert not present(item(server.url), tmp_path)
    assert fetch([item(server.url)], root=tmp_path) == {}
    assert place.read_bytes() == CONTENT


def test_an_address_that_answers_with_a_page_is_passed_over(server, tmp_path):
    login = server.url.replace("file", "login")
    (reason,) = fetch([item(login, sha256="")], root=tmp_path).values()
    assert reason == f"{login.split('/')[2]}: answered with a web page, not with the file"
    assert names(tmp_path) == []
    assert fetch([item(login, server.url, sha256="")], root=tmp_path) == {}
    assert (tmp_path / "data/official/net.pkl").read_bytes() == CONTENT


def test_the_next_address_is_tried(server, nobody, tmp_path):
    gone = server.url.replace("file", "gone")
    assert fetch([item(nobody, gone, server.url)], root=tmp_path) == {}
    lost, found = item(gone, name="lost.pkl"), item(server.url, name="found.pkl")
    missing = fetch([lost, found], root=tmp_path)
    assert list(missing) == [lost]  # the others are fetched all the same
    assert "404" in missing[lost]


def test_a_host_that_does_not_answer_is_not_asked_again_and_stops_no_other(server, nobody, tmp_path):
    items = [item(nobody, name="first.pkl"), item(nobody, name="second.pkl"), item(server.url)]
    items.append(item(nobody, server.url, name="mirrored.pkl"))
    missing = fetch(items, root=tmp_path)
    assert [wanted.path.split("/")[-1] for wanted in missing] == ["first.pkl", "second.pkl"]
    host = nobody.split("/")[2]
    assert missing[items[0]].startswith(f"{host}: not reached (")
    assert missing[items[1]] == f"{host}: not tried again"
    assert names(tmp_path) == ["mirrored.pkl", "net.pkl"]


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The project without its data, and without a network; the addresses that are asked."""
    asked = []

    def get(url, **_):
        asked.append(url)
        raise module.requests.ConnectionError("no network")

    monkeypatch.setattr(module.requests, "get", get)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return asked


def test_without_a_network_everything_is_listed_with_where_it_comes_from(offline, tmp_path, capsys):
    assert main(["ffhq256"]) == 1
    hosts = [url.split("/")[2] for url in offline]
    assert len(hosts) == len(set(hosts)) == 4  # each once
    said = capsys.readouterr().err
    assert f"(rosinality): {hosts[0]}: not reached (no network)\n    from  {offline[0]}" in said
    assert "    from  https://github.com/rosinality/stylegan2-pytorch" in said  # where a person gets it
    assert f"more/judges trains one: {hosts[0]}: not tried again" in said
    assert "(research use): to be had by hand\n    from  https://github.com/jd-opensource" in said
    assert f"to    {tmp_path / 'data/lapa'}" in said
    assert said.count("    to    ") == len(needed(load_profile("ffhq256")))
    assert "paper256" not in said and "(optional)" not in said
    main(["ffhq256", "--all"])
    assert "(NVIDIA, non-commercial) (optional): " in capsys.readouterr().err


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        wanted = item(f"http://127.0.0.1:{silent.getsockname()[1]}/file")
        began = time.monotonic()
        missing = fetch([wanted], root=tmp_path)
    assert "timed out" in missing[wanted]
    assert time.monotonic() - began < 5


def test_what_was_had_by_hand_counts(tmp_path):
    lapa = Item("data/lapa", "faces", page="https://example.org/form")
    folder = tmp_path / "data/lapa"
    (folder / "train/images").mkdir(parents=True)
    (folder / ".DS_Store").touch()
    assert fetch([lapa], root=tmp_path) == {lapa: "to be had by hand"}
    (folder / "train/images/1.jpg").touch()
    assert fetch([lapa], root=tmp_path) == {}


def changed(**world):
    profile = load_profile("ffhq256")
    return replace(profile, name="my256", world=replace(profile.world, **world))


def paths(profile, **options):
    profile = load_profile(profile) if isinstance(profile, str) else profile
    return {wanted.path for wanted in needed(profile, **options)}


def test_needed_is_what_the_profile_names():
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
        assert paths(changed(**world)) == usual - less | more
        assert not any(wanted.optional for wanted in needed(changed(**world)))
    moved = {wanted.path: wanted for wanted in needed(changed(official="elsewhere"), everything=True)}
    assert moved["elsewhere/vgg19-dcbb9e9d.pth"].sha256.startswith("dcbb9e9d")
    assert not [path for path in moved if path.startswith("data/official")]


def test_a_file_that_nobody_knows_is_named_by_its_key():
    (unknown,) = [
        wanted for wanted in needed(changed(generator="mine.pt")) if wanted.path.endswith("mine.pt")
    ]
    assert unknown.what == "what world.generator of profile my256 names" and not unknown.urls
    assert unknown.page.startswith("where its author")


def test_everything_is_there(offline, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "ITEMS", [replace(wanted, sha256="") for wanted in ITEMS])
    for wanted in needed(load_profile("ffhq256")):
        place = tmp_path / wanted.path
        path = place if place.suffix else place / "1.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert main(["ffhq256"]) == 0
    assert capsys.readouterr().out == "Everything is there.\n"
    assert offline == []


def test_optional_is_what_else_fits_the_profile():
    more = {wanted.path for wanted in needed(load_profile("ffhq256"), everything=True) if wanted.optional}
    assert more == paths("ffhq256", everything=True) - paths("ffhq256")
    assert {"data/official/ffhq-res256-mirror-paper256-noaug.pkl", "data/jd"} < more
    assert "data/official/ffhq.pkl" not in more  # of another size
    assert "data/official/stylegan2-ffhq-config-f.pkl" in paths("ffhq1024", everything=True)


def test_profiles_that_need_nothing_are_told_so(capsys):
    assert needed(load_profile("portraits"), everything=True) == []
    assert main(["portraits", "smoke"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{name} is not on photographs: nothing is fetched for it." for name in ("portraits", "smoke")
    ]
    with pytest.raises(SystemExit):
        main(["ffhq265"])
    assert "the nearest is 'ffhq256'" in capsys.readouterr().err


def test_what_is_made_here_is_not_downloaded():
    for wanted in needed(load_profile("smoke-ffhq"), everything=True):
        assert wanted.path.startswith("data/smoke-ffhq/")
        assert not wanted.urls and wanted.page == "`python -m pretrain.smoke_ffhq`"


def test_judges_of_identity_are_those_whose_layout_is_known():
    assert list(IDENTITY) == list(SIDES)


def test_the_table_is_whole():
    assert len({wanted.path for wanted in ITEMS}) == len(ITEMS)
    for wanted in ITEMS:
        assert wanted.urls or wanted.page, f"{wanted.path}: fetched or had by hand"
        assert all(url.startswith("https://") for url in (*wanted.urls, wanted.page) if url)
        assert wanted.path.startswith("data/") and not wanted.path.startswith("data/portraits")
        if "download.pytorch.org" in "".join(wanted.urls):
            assert wanted.sha256.startswith(wanted.path.split("-")[-1].removesuffix(".pth"))
        assert len(wanted.sha256) in (0, 64)
