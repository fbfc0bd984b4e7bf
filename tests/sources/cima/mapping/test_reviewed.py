"""What real answers become, whole, as it was reviewed by eye: `reviewed/*.json`.  A change in it is seen in review.

Narratives stand there by how they begin, their length and digest; texts only where they are real ones.  `TSI_ACCEPT=1`
writes what is found in place of what was reviewed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sources.cima.mapping import to_changes
from sources.cima.mapping.side import side_resources
from tests.tsi_fetch.fhir.r5.schema import faults
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Answer, Row, Upsert

pytestmark = pytest.mark.samples

REVIEWED = Path(__file__).parent / "reviewed"

MakeRow = Callable[..., Row]
MakeAnswer = Callable[..., Answer]
Body = Callable[[str], Any]


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def shorter(value: Any, name: str = "", *, texts: bool = False) -> Any:
    """The same without the words of narratives, and without all but the titles of the outermost sections."""
    if isinstance(value, dict):
        return {key: shorter(item, key, texts=texts) for key, item in value.items()}
    if name == "section" and not texts:
        return [section.get("title") for section in value]
    if isinstance(value, list):
        return [shorter(item, texts=texts) for item in value]
    if name != "div":
        return value
    words = " ".join(re.sub("<[^>]*>", " ", value).split())
    return f"{words[:60]} ({len(value)} characters, sha256 {hashlib.sha256(value.encode()).hexdigest()[:16]})"


def ref_of(resource: Any) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def folded(resource: Any, others: dict[str, Any]) -> Any:
    """A Bundle without what stands on its own as well, by its reference."""
    if "entry" not in resource or resource["resourceType"] != "Bundle":
        return resource
    entries = [entry["resource"] for entry in resource["entry"]]
    as_own = [ref_of(one) if one == others.get(ref_of(one)) else one for one in entries]
    return {**resource, "entry": [{**e, "resource": one} for e, one in zip(resource["entry"], as_own, strict=True)]}


def compare(name: str, bodies: Sequence[bytes], *, texts: bool = False) -> None:
    assert [fault for body in bodies for fault in faults(body)] == []
    found = {ref_of(one): one for one in (json.loads(body, parse_float="decimal {}".format) for body in bodies)}
    assert len(found) == len(bodies)
    found = {ref: shorter(folded(one, found), texts=texts) for ref, one in found.items()}
    path = REVIEWED / f"{name}.json"
    if os.environ.get("TSI_ACCEPT"):
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        pytest.skip(f"{path.name} was written, and nothing compared: look at the change")
    assert found == read(path)


def bodies_of(row: Row) -> list[bytes]:
    return [change.body for change in to_changes(row) if isinstance(change, Upsert)]


PRODUCTS = ("51347", "07400013")


def test_every_recorded_product_is_among_them(samples: Path) -> None:
    """Those by a pack's number are refused elsewhere."""
    recorded = {read(path)["nregistro"] for path in samples.glob("medicamento_*.json") if "cn" not in path.stem}
    assert recorded == set(PRODUCTS)


@pytest.mark.parametrize("number", PRODUCTS)
def test_a_real_product_with_invented_texts(samples: Path, body: Body, make_whole_row: MakeRow, number: str) -> None:
    own = {tipo: body(f"contenido_{tipo}_99001") for tipo in (1, 2)}
    compare(f"product-{number}", bodies_of(make_whole_row(read(samples / f"medicamento_{number}.json"), own)))


@pytest.mark.parametrize("day", ["2024-12-13", "2025-06-04"])
def test_real_texts_of_an_invented_product(samples: Path, body: Body, make_whole_row: MakeRow, day: str) -> None:
    folder = samples / "docSegmentado_reconstructed"
    texts = {tipo: read(folder / f"{day}_{short}_54347_contenido.json") for tipo, short in ((1, "ft"), (2, "p"))}
    product = {**body("medicamento_99001"), "nregistro": "54347", "presentaciones": []}
    bodies = bodies_of(make_whole_row(product, texts))
    compositions = [body for body in bodies if json.loads(body)["resourceType"] == "Composition"]
    compare(f"texts-54347-{day}", compositions, texts=True)


def test_real_notes_materials_and_supply_problems(samples: Path, answer: MakeAnswer) -> None:
    given = []
    for name, part in (("nota_item", "notas"), ("material_item", "materiales")):
        item = read(samples / f"{name}.json")
        given.append(answer(part, item if isinstance(item, list) else [item]))
    packs = [read(path) for path in sorted((samples / "psuministro_v2").glob("cn_*_200_*.json"))]
    for path in sorted(samples.glob("psuministro_page*.json")):
        packs += read(path)["resultados"]
    given += [answer(f"psuministro/{pack['cn']}", pack) for pack in packs]
    made = {resource["id"]: dump(resource) for one in given for resource in side_resources("54347", one)}
    compare("side-54347", list(made.values()))
