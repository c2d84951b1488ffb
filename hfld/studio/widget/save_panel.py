"""The part of the editor that saves: a button for each kind of file, what is being made, what was written."""

from collections.abc import Callable
from pathlib import Path

import ipywidgets as W
from ipywidgets import Layout

from hfld.studio import markup, phrases
from hfld.studio.export_queue import ExportProgress, ExportQueue, Files
from hfld.studio.latest_queue import Rest
from hfld.studio.session import Session
from hfld.studio.widget.arrangement import bar

KINDS = {"png": "image/png", "gif": "image/gif", "mp4": "video/mp4", "json": "application/json"}
LINKED = 3 << 20  # bytes of a file that is offered as a link in the page
BUTTONS = (
    ("face", "Save face", "picture, latent and recipe"),
    ("gif", "Save GIF", "the trajectory, there and back"),
    ("mp4", "Save MP4", "the trajectory as a film"),
    ("sheet", "Save contact sheet", "faces, trajectories, snapshots"),
)


class SavePanel(W.VBox):
    """Files are made behind the sliders, which go on working."""

    exports: ExportQueue | None = None

    def __init__(
        self,
        session: Session,
        folder: Path,
        *,
        say: Callable[..., None],  # text, error=
        rest: Rest,
    ) -> None:
        self._folder, self._say = folder, say
        self.buttons = {
            kind: W.Button(description=text, tooltip=tip, layout=Layout(width="auto"))
            for kind, text, tip in BUTTONS
        }
        self.cancel = W.Button(
            description="Cancel", tooltip="neither this file nor those that wait",
            layout=Layout(width="auto", display="none"),
        )  # fmt: skip
        self.progress, self.saved = W.HTML(), W.HTML()
        self.exports = ExportQueue(
            session, folder, tell=self._tell, saved=self._show, failed=self._failed, rest=rest
        )
        for kind, button in self.buttons.items():
            button.on_click(lambda _, kind=kind: self.save(kind))
        self.cancel.on_click(lambda _: self.exports.cancel())
        super().__init__([bar([*self.buttons.values(), self.cancel]), self.progress, self.saved])

    def close(self) -> None:
        if self.exports is not None:
            self.exports.close()
        super().close()

    def save(self, kind: str) -> None:
        """Start; what becomes of it is said in the editor's line."""
        self.exports.save(kind)

    def _tell(self, now: ExportProgress | None) -> None:
        self.cancel.layout.display = "none" if now is None else None
        self.progress.value = "" if now is None else markup.saving(now.kind, now.share, now.waiting)

    def _failed(self, error: Exception) -> None:
        self._say(phrases.error_text(error), error=True)

    def _show(self, files: Files) -> None:
        links = [
            (path.name, content, KINDS.get(path.suffix[1:], "application/octet-stream"))
            for path, content in files
            if len(content) <= LINKED
        ]
        self.saved.value = markup.saved(self._folder, links)
        self._say(f"saved {', '.join(path.name for path, _ in files)}")
