"""The pages that people read: links lead somewhere, the first pages are short and written by people."""

import re
import urllib.parse
from pathlib import Path

import pytest

from hfld.config import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "REPORT.md", "CONTRIBUTING.md")),
    *(ROOT / "docs").glob("*.md"),
]
LONGEST = {"README.md": 150, "REPORT.md": 200}  # lines


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """What a link to a heading of the page may end in."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: Path) -> list[str]:
    """Links and pictures of a page that lead nowhere in the project."""
    missing = []
    for link in re.findall(r"(?:\]\(|src=\")([^)\s\"]+)", prose(path)):
        url = urllib.parse.urlsplit(link)
        target = path.parent / url.path if url.path else path
        if url.scheme:
            continue
        if not target.exists() or (url.fragment and url.fragment not in anchors(target)):
            missing.append(link)
    return missing


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_are_there(path: Path) -> None:
    assert not broken(path)


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title\n[here](#a-title) [web](https://a.b/c) [no](#b) ![no](no.png)\n```\n[code](x)\n```\n"
    )
    assert broken(page) == ["#b", "no.png"]


@pytest.mark.parametrize("name", LONGEST)
def test_the_first_pages_are_short(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= LONGEST[name]


def test_no_stage_writes_into_the_readme() -> None:
    assert "<!--" not in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+\.md)\)", index)) == {
        page.name for page in (ROOT / "docs").glob("*.md")
    } - {"README.md"}
