"""Exports in the background: in order, of the state at the click, with progress, ended between pictures."""

import threading
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_studio import toy_engine

from hfld.studio.export_queue import ExportQueue
from hfld.studio.file_formats import write_together
from hfld.studio.latest_queue import Overtaken
from hfld.studio.session import STEPS, Session

WAIT = 60.0  # seconds that a busy machine may take


class Heard:
    """What a panel would show."""

    def __init__(self, session: Session, folder, **options) -> None:
        self.told, self.saved, self.failed = [], [], []
        self.exports = ExportQueue(
            session,
            folder,
            tell=self.told.append,
            saved=self.saved.append,
            failed=self.failed.append,
            **({"rest": lambda seconds: None} | options),
        )

    @property
    def names(self) -> list[str]:
        return [path.name for files in self.saved for path, _ in files]


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr("hfld.studio.session.EXPORT_SIDE", 32)
    made = Session(toy_engine(), second="baseline")
    made.set_target("Attractive", 0.9)
    return made


def test_each_is_saved_in_order_with_progress(session, tmp_path):
    heard = Heard(session, tmp_path)
    for kind in ("gif", "face", "sheet"):
        heard.exports.save(kind)
    assert heard.exports.wait(WAIT)
    heard.exports.close()
    stem = "seed1_hfld_Attractive90"
    assert heard.names == [f"{stem}.gif", *(f"{stem}.{end}" for end in ("png", "safetensors", "json")),
                           f"{stem}_sheet.png"]  # fmt: skip
    for files in heard.saved:
        for path, content in files:
            assert path.read_bytes() == content
    shares = [now.share for now in heard.told if now is not None and now.kind == "gif"]
    frames = 2 * (2 * STEPS - 1)
    np.testing.assert_allclose(shares[1:], np.arange(1, frames + 1) / frames)
    assert shares[0] is None and heard.told[-1] is None and not heard.failed


def test_the_state_is_that_of_the_click(session, tmp_path):
    begun, go = threading.Event(), threading.Event()

    def rest(seconds):
        begun.set()
        assert go.wait(WAIT)

    heard = Heard(session, tmp_path, rest=rest)
    image = session.engine.result(session.state).image
    heard.exports.save("face")
    assert begun.wait(WAIT)
    session.set_target("Attractive", 0.1)
    go.set()
    assert heard.exports.wait(WAIT)
    heard.exports.close()
    assert heard.names[0] == "seed1_hfld_Attractive90.png"
    with Image.open(tmp_path / heard.names[0]) as saved:
        assert (np.asarray(saved) == image).all()


def test_cancelled_between_pictures(session, tmp_path):
    drawn = []

    def rest(seconds):
        drawn.append(1)
        if len(drawn) == 4:
            heard.exports.save("face")
            heard.exports.cancel()

    heard = Heard(session, tmp_path, rest=rest)
    heard.exports.save("mp4")
    assert heard.exports.wait(WAIT)
    assert len(drawn) == 4 and not heard.saved and not heard.failed and not list(tmp_path.iterdir())
    assert heard.told[-1] is None
    heard.exports.save("face")
    assert heard.exports.wait(WAIT)
    assert len(heard.saved) == 1
    heard.exports.close()
    with pytest.raises(Overtaken):
        list(session.files("sheet", session.state.with_target("Bald", 0.7), stop=lambda: True))


def test_an_error_does_not_stop_the_next(session, tmp_path):
    heard = Heard(session, tmp_path)
    for kind in ("photo", "psd", "face"):
        heard.exports.save(kind)
    assert heard.exports.wait(WAIT)
    heard.exports.close()
    assert [str(error).split(";")[0] for error in heard.failed] == [
        "this face is not from a photo that was opened here",
        "kind must be face, gif, mp4, sheet, photo or photo_face, not 'psd'",
    ]
    assert len(heard.saved) == 1


class Slipping(deque):
    """Somebody cancels just when it has been seen that something waits."""

    cancel = None

    def __len__(self) -> int:
        found = super().__len__()
        if found and self.cancel is not None:
            self.hand, self.cancel = threading.Thread(target=self.cancel), None
            self.hand.start()
            self.hand.join(0.2)
        return found


def test_a_cancel_between_waiting_and_work_is_kept(session, tmp_path):
    heard = Heard(session, tmp_path)
    heard.exports._waiting = slipping = Slipping()
    slipping.cancel = heard.exports.cancel
    heard.exports._rest = lambda seconds: slipping.hand.join()  # work goes on when the cancel has been heard
    heard.exports.save("face")
    assert heard.exports.wait(WAIT)
    assert not heard.failed and not heard.saved and heard.told[-1] is None
    heard.exports.close()


def test_an_error_that_cannot_be_shown_leaves_nothing_busy(session, tmp_path, caplog):
    heard = Heard(session, tmp_path)

    def gone(error):
        raise RuntimeError("the page is closed")

    heard.exports._failed = heard.exports._queue._failed = gone
    heard.exports.save("psd")
    assert heard.exports.wait(WAIT)
    assert heard.told[-1] is None
    assert "the page is closed" in caplog.text
    heard.exports.save("face")
    assert heard.exports.wait(WAIT)
    assert len(heard.saved) == 1 and heard.told[-1] is None
    heard.exports.close()


def test_a_full_disk_leaves_neither_half_a_file_nor_a_temporary_one(tmp_path, monkeypatch):
    whole, files = Path.write_bytes, [("a.png", b"picture"), ("a.json", b"recipe")]

    def full(path, content):
        whole(path, content[:3])
        if "json" in path.name:
            raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        write_together(tmp_path, files)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(Path, "write_bytes", whole)
    assert [path.read_bytes() for path in write_together(tmp_path, files)] == [b"picture", b"recipe"]
    assert len(list(tmp_path.iterdir())) == 2
