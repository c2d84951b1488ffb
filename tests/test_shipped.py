"""What the repository ships agrees with what made it: the card of the networks, the report, the store."""

import hashlib
import json
import shutil

import pytest
import yaml

from hfld.config import ROOT
from hfld.portraits.dataset import renderer_hash
from hfld.report.page import report
from hfld.report.tables import write_paper_tables
from pretrain.card import model_card

STORE = ROOT / "store" / "files" / "md5"
(DATA,) = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"]
ACTIVE = yaml.safe_load((ROOT / "params.yaml").read_text())["active"][0]


def listing() -> dict[str, str]:
    """Files of data/portraits and their md5, as data.dvc names them."""
    return {
        entry["relpath"]: entry["md5"]
        for entry in json.loads((STORE / DATA["md5"][:2] / DATA["md5"][2:]).read_text())
    }


@pytest.fixture(scope="module")
def card():
    md5 = listing()["card.json"]
    return json.loads((STORE / md5[:2] / md5[2:]).read_text())


def test_the_store_is_what_its_names_say_and_nothing_else():
    found = {path.parent.name + path.name: path for path in STORE.parent.rglob("*") if path.is_file()}
    assert found.keys() == {DATA["md5"], *listing().values()}
    for name, path in found.items():
        assert hashlib.md5(path.read_bytes()).hexdigest() == name.removesuffix(".dir")


def test_the_card_passes_its_gates(card):
    assert card["trained"]
    assert [row["gate"] for row in card["gates"] if not row["passed"]] == []
    assert all(
        row["value"] <= row["limit"] if row["below"] else row["value"] >= row["limit"]
        for row in card["gates"]
    )
    assert min(scores["n"] for scores in (*card["renders"].values(), card["generated"])) >= 10_000


def test_the_networks_know_the_renderer_of_today(card):
    drawn = {facts["renderer"] for facts in card["networks"].values() if "renderer" in facts}
    assert drawn == {renderer_hash()[:12]}


def test_the_page_is_the_cards(card):
    assert (ROOT / "pretrain" / "MODEL_CARD.md").read_text(encoding="utf-8") == model_card(card)


def test_no_two_portrait_sets_share_a_seed():
    sets = yaml.safe_load((ROOT / "pretrain" / "params.yaml").read_text())["portraits"]
    assert len({rendered["seed"] for rendered in sets.values()}) == len(sets)


def test_the_report_is_that_of_the_results():
    results = ROOT / "results" / ACTIVE
    text = report(results, base=ROOT)
    assert (ROOT / "REPORT.md").read_text(encoding="utf-8") == text


def test_the_tables_are_those_of_their_csvs(tmp_path):
    shipped, copy = ROOT / "results" / ACTIVE, tmp_path / ACTIVE
    shutil.copytree(shipped, copy, ignore=shutil.ignore_patterns("*.png", "*.md", "*.tex"))
    write_paper_tables(copy)
    made = sorted(path.name for path in (copy / "tables").iterdir() if path.suffix != ".csv")
    assert made == sorted(path.name for path in (shipped / "tables").iterdir() if path.suffix != ".csv")
    for name in made:
        text = (copy / "tables" / name).read_text(encoding="utf-8")
        assert text == (shipped / "tables" / name).read_text(encoding="utf-8")


def test_the_readme_shows_drift_and_emotions_of_the_headline():
    text = (ROOT / "results" / "portraits" / "tables" / "headline.md").read_text(encoding="utf-8")
    head, rule, *lines = (line for line in text.splitlines() if line.startswith("|"))
    lines = [line for line in lines if "Landmark drift" in line or "Emotion change" in line]
    assert len(lines) == 12
    assert "\n".join([head, rule, *lines]) in (ROOT / "README.md").read_text(encoding="utf-8")
