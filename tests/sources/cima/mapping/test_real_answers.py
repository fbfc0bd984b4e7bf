"""Recorded answers of the real register (Fuente: AEMPS/CIMA), where they are at hand."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from sources.cima.mapping import to_changes
from tsi_fetch.errors import Unusable
from tsi_fetch.words import Answer, Change, Row, Upsert

pytestmark = pytest.mark.samples

Make = Callable[..., Any]
BASE = "https://cima.invalid/cima/rest"
DATES = ("2024-12-13", "2025-06-04")


class Words(HTMLParser):
    """The words of HTML by another reader than ours; nothing of these texts is hidden."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def letters(text: str) -> str:
    return re.sub(r"\s+", "", text)


def words(html: str) -> str:
    reader = Words()
    reader.feed(html)
    reader.close()
    return letters("".join(reader.found))


def texts(samples: Path, date: str) -> dict[int, Any]:
    folder = samples / "docSegmentado_reconstructed"
    return {
        tipo: json.loads((folder / f"{date}_{short}_54347_contenido.json").read_bytes())
        for tipo, short in ((1, "ft"), (2, "p"))
    }


def register(body: Make) -> Any:
    """A register body of our own for the product whose texts are real."""
    return {**body("medicamento_99001"), "nregistro": "54347", "presentaciones": []}


def bodies(row: Row) -> dict[str, bytes]:
    return {str(c.ref): c.body for c in to_changes(row) if isinstance(c, Upsert)}


def validate(changes: list[Change]) -> None:
    for change in changes:
        assert isinstance(change, Upsert)
        module = importlib.import_module(f"fhir.resources.{change.ref.type.lower()}")
        assert getattr(module, change.ref.type).model_validate_json(change.body).id == change.ref.id


@pytest.mark.parametrize(("number", "documents"), [("51347", 2), ("07400013", 2)])
def test_a_real_product_maps_and_is_valid(
    samples: Path, body: Make, make_whole_row: Make, number: str, documents: int
) -> None:
    product = json.loads((samples / f"medicamento_{number}.json").read_bytes())
    own = {1: body("contenido_1_99001"), 2: body("contenido_2_99001")}

    changes = list(to_changes(make_whole_row(product, own)))

    validate(changes)
    kinds = [change.ref.type for change in changes]
    assert kinds.count("Bundle") == documents
    assert kinds.count("PackagedProductDefinition") == len(product["presentaciones"])
    found = next(json.loads(c.body) for c in changes if isinstance(c, Upsert) and c.ref.type.startswith("Medicinal"))
    assert found["name"][0]["productName"] == product["nombre"]


@pytest.mark.parametrize("date", DATES)
def test_real_texts_map_and_lose_no_word(samples: Path, body: Make, make_whole_row: Make, date: str) -> None:
    real = texts(samples, date)

    changes = list(to_changes(make_whole_row(register(body), real)))

    validate(changes)
    bundles = [json.loads(c.body) for c in changes if isinstance(c, Upsert) and c.ref.type == "Bundle"]
    for bundle, sent in zip(bundles, real.values(), strict=True):
        mapped = bundle["entry"][0]["resource"]["section"][0]["section"]
        for section, source in zip(mapped, sent, strict=True):
            shown = letters("".join(map(str, etree.fromstring(section["text"]["div"]).itertext())))
            assert section["title"] == f"{source['seccion']}. {source['titulo']}"
            assert shown == (words(source["contenido"]) or letters(section["title"]))


def test_two_dates_of_a_text_change_exactly_the_sections_that_differ(
    samples: Path, body: Make, make_whole_row: Make
) -> None:
    old_texts, new_texts = (texts(samples, date) for date in DATES)
    old, new = (bodies(make_whole_row(register(body), real)) for real in (old_texts, new_texts))

    assert old.keys() == new.keys()
    changed = {ref for ref in new if new[ref] != old[ref]}
    assert changed == {
        f"{kind}-{short}-54347"
        for kind in ("Bundle/es-aemps-bundle", "Composition/es-aemps-comp")
        for short in ("ft", "p")
    }
    for tipo, short in ((1, "ft"), (2, "p")):
        before, after = (json.loads(side[f"Bundle/es-aemps-bundle-{short}-54347"]) for side in (old, new))
        was, now = (side["entry"][0]["resource"]["section"][0].pop("section") for side in (before, after))
        assert before == after  # nothing but the sections
        for before_it, after_it in ((was, now), (now, was)):
            kept = [json.dumps(s, sort_keys=True) for s in before_it]
            moved = [s["title"].split(". ")[0] for s in after_it if json.dumps(s, sort_keys=True) not in kept]
            texts_of = (old_texts, new_texts) if after_it is now else (new_texts, old_texts)
            assert moved == differing(*(t[tipo] for t in texts_of))


def differing(before: list[Any], after: list[Any]) -> list[str]:
    """The numbers of the source's sections that are new or have another title or text."""
    known = [(s["seccion"], s["titulo"], s["contenido"]) for s in before]
    return [s["seccion"] for s in after if (s["seccion"], s["titulo"], s["contenido"]) not in known]


def test_the_new_day_of_a_text_moves_the_compositions_date_and_identifier_alone(
    samples: Path, body: Make, make_whole_row: Make
) -> None:
    product, real = register(body), texts(samples, DATES[0])
    later = json.loads(json.dumps(product))
    later["docs"][0]["fecha"] += 86_400_000

    before, after = (bodies(make_whole_row(p, real)) for p in (product, later))

    ref = "Bundle/es-aemps-bundle-ft-54347"
    assert [r for r in after if after[r] != before[r]] == [
        "DocumentReference/es-aemps-doc-54347-ft",
        ref,
        "Composition/es-aemps-comp-ft-54347",
        "List/es-aemps-list-54347",
    ]
    was, now = (json.loads(side[ref])["entry"][0]["resource"] for side in (before, after))
    assert {name for name in now if now[name] != was[name]} == {"date", "identifier", "note", "attester"}


def answer_as_product(path: Path, key: str, query: str, at: Answer) -> Row:
    return Row(key, (Answer("medicamento", f"{BASE}/medicamento?{query}", 200, path.read_bytes(), at.requested_at),))


def test_a_real_answer_by_cn_is_refused(samples: Path, answer: Make) -> None:
    row = answer_as_product(samples / "medicamento_cn_712729.json", "51347", "cn=712729", answer("x", {}))

    with pytest.raises(Unusable) as caught:
        to_changes(row)

    assert caught.value.fault.code == "cima-by-cn"


@pytest.mark.parametrize("number", ["71857", "81012"])
def test_a_real_row_of_the_listing_is_refused(samples: Path, answer: Make, number: str) -> None:
    row = answer_as_product(
        samples / f"medicamentos_item_{number}.json", number, f"nregistro={number}", answer("x", {})
    )

    with pytest.raises(Unusable) as caught:
        to_changes(row)

    assert caught.value.fault.code == "cima-list-row"


def test_a_real_pack_in_a_products_place_is_refused(samples: Path, answer: Make) -> None:
    row = answer_as_product(samples / "presentacion_706083.json", "79717", "nregistro=79717", answer("x", {}))

    with pytest.raises(Unusable) as caught:
        to_changes(row)

    assert caught.value.fault.code == "cima-presentation"
