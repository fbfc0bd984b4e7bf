"""Leaflets as HAPI gives them, as pages in a real browser: what a reader sees, and a picture of it.

The pictures stay in TSI_ARTEFACTS where that names a folder, else in pytest's own; the test's output says where.
"""

from __future__ import annotations

import json
import os
import re
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from dev.chromium import NotAvailable, chromium, inked, look
from tests.servers import hard_leaflet
from tests.servers.conversation import Fhir
from tests.servers.lens_engine import Document, opened
from tests.servers.loaded_products import HARD, Loaded

pytestmark = pytest.mark.servers

READER = Path(__file__).with_name("leaflet_reader.js")
STYLE = """
body { font: 16px/1.45 "Liberation Sans", Arial, sans-serif; margin: 2em auto; max-width: 46em; color: #222 }
h1 { font-size: 1.5em } h2 { font-size: 1.25em; border-bottom: 2px solid #2050b0 }
h3 { font-size: 1.05em; color: #2050b0; margin-bottom: .2em }
"""


@pytest.fixture(scope="module", autouse=True)
def browser() -> str:
    try:
        return chromium()
    except NotAvailable as e:
        pytest.skip(str(e))


@pytest.fixture
def artefacts(tmp_path: Path) -> Path:
    named = os.environ.get("TSI_ARTEFACTS")
    folder = Path(named) if named else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def page(documents: list[Document]) -> str:
    """A page as FOSPS's template makes it, two levels and no more; at its end a script of ours that says what it shows.

    The script also takes each joined text apart by the browser's own reading of `div[xmlns]`.
    """
    leaflets = "".join(
        f'<article data-joined="{escape(d.joined)}"><h1>{escape(d.title)}</h1><h2>{escape(d.heading)}</h2>'
        + "".join(f"<section><h3>{escape(s.title)}</h3><div>{s.html}</div></section>" for s in d.sections)
        + "</article>"
        for d in documents
    )
    head = f'<meta charset="utf-8"><title>quiet</title><style>{STYLE}</style>'
    script = f'<pre id="seen" hidden></pre><script>{READER.read_text("utf-8")}</script>'
    return f'<!doctype html><html lang="es"><head>{head}</head><body>{leaflets}{script}</body></html>'


def seen(dom: str) -> Any:
    """What our script found."""
    found = re.search(r'<pre id="seen" hidden="">(.*?)</pre>', dom, re.DOTALL)
    assert found, "our script did not run"
    return json.loads(unescape(found[1]))


def plain(text: str) -> str:
    """Words with single blanks."""
    return " ".join(text.replace("\u200b", "").split())


def letters(text: str) -> str:
    return re.sub(r"\s+", "", text.replace("\u200b", ""))


def leaflet(epi: Fhir, number: str) -> Document:
    bundle = epi.http.get("Bundle", params={"identifier": f"https://www.gravitatehealth.eu/sid/doc|{number}-p"}).json()
    return opened(bundle["entry"][0]["resource"])


def test_a_leaflet_of_hard_markup_is_a_page_with_every_word_in_its_place(
    epi: Fhir, loaded: Loaded, tmp_path: Path, artefacts: Path
) -> None:
    file, picture = tmp_path / "leaflet.html", artefacts / "leaflet.png"
    file.write_text(page([leaflet(epi, HARD)]), "utf-8")
    report = seen(look(file, picture, height=1800))
    print(f"a picture of the page: {picture}")
    (shown,) = report["leaflets"]
    assert [(plain(s["title"]), plain(s["text"])) for s in shown["sections"]] == hard_leaflet.expected()
    assert [plain(text) for text in shown["pieces"]] == [words for _, words in hard_leaflet.expected()]
    assert report["title"] == "quiet", "a script of the leaflet ran"
    assert report["active"] == []
    assert ["imagen", 120, 64] in report["images"], "the picture was not drawn"
    assert report["jumps"] == ["_Toc1"], "the link within the text leads nowhere"
    assert report["gaps"] == [], "a line without words"
    assert inked(picture.read_bytes()) > 400, "the picture is blank"


def test_every_leaflet_shows_in_a_browser_what_the_register_meant(
    epi: Fhir, loaded: Loaded, tmp_path: Path, artefacts: Path
) -> None:
    truths = [t for t in loaded.chosen.truths.values() if 2 in (t.texts or {}) and t.number != HARD]
    file, picture = tmp_path / "leaflets.html", artefacts / "leaflets.png"
    file.write_text(page([leaflet(epi, truth.number) for truth in truths]), "utf-8")
    report = seen(look(file, picture))
    print(f"a picture of the first pages: {picture}")
    for truth, shown in zip(truths, report["leaflets"], strict=True):
        assert shown["heading"] == truth.name
        told = [text for _, _, text in (truth.texts or {})[2]]
        titles = [letters(s["title"]) for s in shown["sections"]]
        for name in ("sections", "pieces"):
            found = [letters(s["text"] if name == "sections" else s) for s in shown[name]]
            # A heading alone shows its title again.
            own = ["" if text == title else text for title, text in zip(titles, found, strict=True)]
            assert own == told, (truth.number, name)
    assert report["title"] == "quiet"
    assert inked(picture.read_bytes()) > 600
