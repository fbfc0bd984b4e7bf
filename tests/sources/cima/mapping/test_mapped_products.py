"""Three invented products, as the sink gets them."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from freezegun import freeze_time

from sources.cima.mapping import MAPPING_VERSION, to_changes
from tsi_fetch.words import Change, Row, Upsert

PRODUCTS = ["99001", "1998001001", "99 003-95-96"]
MakeRow = Callable[..., Row]
DAY = 86_400_000


def resources(changes: Sequence[Change]) -> dict[str, Any]:
    assert all(isinstance(change, Upsert) for change in changes)
    return {str(change.ref): json.loads(change.body) for change in changes if isinstance(change, Upsert)}


def one(found: dict[str, Any], resource_type: str) -> Any:
    matching = [resource for ref, resource in found.items() if ref.startswith(f"{resource_type}/")]
    assert len(matching) == 1
    return matching[0]


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [ref for child in value.values() for ref in references(child)]
    return [ref for child in value for ref in references(child)] if isinstance(value, list) else []


@pytest.mark.parametrize("number", PRODUCTS)
def test_every_resource_is_valid_by_hl7s_own_definitions(make_row: MakeRow, number: str) -> None:
    changes = to_changes(make_row(number))

    for change in changes:
        assert isinstance(change, Upsert)
        module = importlib.import_module(f"fhir.resources.{change.ref.type.lower()}")
        model = getattr(module, change.ref.type).model_validate_json(change.body)
        assert model.id == change.ref.id
    assert {change.ref.type for change in changes} >= {
        "Organization",
        "MedicinalProductDefinition",
        "RegulatedAuthorization",
        "PackagedProductDefinition",
    }


@pytest.mark.parametrize("number", PRODUCTS)
def test_refs_are_unique_ids_are_fhirs_and_every_reference_is_relative_and_sent_along(
    make_row: MakeRow, number: str
) -> None:
    changes = to_changes(make_row(number))
    found = resources(changes)

    assert len(found) == len(changes)
    assert all(re.fullmatch(r"es-aemps-[A-Za-z0-9\-.]{1,55}", change.ref.id) for change in changes)
    assert set(references(list(found.values()))) <= found.keys()


@pytest.mark.parametrize("number", PRODUCTS)
def test_what_is_referred_to_comes_first(make_row: MakeRow, number: str) -> None:
    seen: set[str] = set()
    for ref, resource in resources(to_changes(make_row(number))).items():
        seen.add(ref)
        assert set(references(resource)) <= seen


@pytest.mark.parametrize("number", PRODUCTS)
def test_the_same_row_gives_the_same_bytes_whatever_the_clock_says(make_row: MakeRow, number: str) -> None:
    with freeze_time("1999-12-31T23:59:59Z"):
        before = to_changes(make_row(number))
    with freeze_time("2030-03-31T00:30:00Z"):
        assert to_changes(make_row(number)) == before


def test_every_change_carries_the_rows_scope_and_order(make_row: MakeRow) -> None:
    row = make_row("99 003-95-96")

    assert {(c.scope, c.order) for c in to_changes(row)} == {("99 003-95-96", row.order)}


def test_a_row_without_answers_changes_nothing() -> None:
    assert to_changes(Row("99001")) == ()


def test_a_product_that_the_register_no_longer_knows_has_no_resources(answer: Callable[..., Any]) -> None:
    assert to_changes(Row("99001", (answer("medicamento", None),))) == ()


def test_the_mapping_has_a_version() -> None:
    assert MAPPING_VERSION == 6


def test_the_product_definition_says_what_the_register_says(make_row: MakeRow) -> None:
    found = one(resources(to_changes(make_row("99001"))), "MedicinalProductDefinition")

    assert found["id"] == "es-aemps-mpd-99001"
    assert [i["value"] for i in found["identifier"]] == ["99001", "99001"]
    assert found["identifier"][0]["system"] == "https://spor.ema.europa.eu/pmswi"
    assert found["status"]["coding"][0]["code"] == "active"
    assert found["statusDate"] == "2016-06-27"
    assert found["legalStatusOfSupply"]["coding"][0]["code"] == "100000072084"
    assert found["legalStatusOfSupply"]["text"] == "Medicamento Sujeto A Prescripción Médica"
    assert found["additionalMonitoringIndicator"] == {"text": "Black triangle"}
    assert found["classification"] == [
        {"coding": [{"system": "http://www.whocc.no/atc", "code": "V03AX99", "display": "Fantasina"}]},
        {"text": "Generic"},
    ]
    assert [c["code"] for c in found["code"]] == ["990010001401", "990020001402", "990030001403", "990040001404"]
    assert [p["part"] for p in found["name"][0]["part"]] == ["fantasina", "50 mg", "COMPRIMIDO RECUBIERTO CON PELÍCULA"]
    assert found["characteristic"][0]["valueBoolean"] is True
    assert "attachedDocument" not in found


def test_a_union_product_also_has_the_unions_number(make_row: MakeRow) -> None:
    found = resources(to_changes(make_row("1998001001")))

    for kind in ("MedicinalProductDefinition", "RegulatedAuthorization"):
        numbers = [(i["system"], i["value"]) for i in one(found, kind)["identifier"]]
        assert ("https://spor.ema.europa.eu/pmswi", "EU/1/99/8001/001") in numbers
    product = one(found, "MedicinalProductDefinition")
    assert product["specialMeasures"] == [{"text": "Orphan medicinal product"}]
    assert [c.get("text") for c in product["classification"]] == [None, "Biosimilar"]
    assert product["classification"][0]["coding"][0]["code"] == "L04AX"  # no fifth level: the deepest there is
    assert product["characteristic"][0]["valueCodeableConcept"]["text"] == "Biológicos"


@pytest.mark.parametrize(
    ("atcs", "codes"),
    [
        ([{"codigo": " N02BA51 ", "nivel": 5}], ["N02BA51"]),
        ([{"codigo": "N02B", "nivel": 3}, {"codigo": "N02BA51"}], ["N02BA51"]),
        ([{"codigo": "N02B"}, {"codigo": "N02BA51", "nivel": 5}], ["N02BA51"]),
        ([{"codigo": "N02BA51", "nivel": 5}, {"codigo": "N02BE01"}], ["N02BA51", "N02BE01"]),
        ([{"codigo": "N02BA51", "nivel": 5}, {"codigo": "N02BA5"}], ["N02BA51", "N02BA5"]),
        ([{"codigo": " ", "nivel": 5}, {"codigo": "N02B", "nivel": 3}], ["N02B"]),
    ],
)
def test_a_code_of_the_deepest_level_is_kept_whether_or_not_its_level_is_said(
    make_row: MakeRow, atcs: Any, codes: list[str]
) -> None:
    row = make_row("99001", atcs=atcs, generico=False)

    found = one(resources(to_changes(row)), "MedicinalProductDefinition")["classification"]

    assert [c["coding"][0]["code"] for c in found] == codes


def test_a_national_product_of_eight_digits_has_no_number_of_the_union(make_row: MakeRow) -> None:
    found = one(resources(to_changes(make_row("1998001001", ema=False))), "MedicinalProductDefinition")

    assert [i["value"] for i in found["identifier"]] == ["1998001001", "1998001001"]


def test_a_number_with_a_blank_stays_as_it_is_spelled_but_in_ids(make_row: MakeRow) -> None:
    found = resources(to_changes(make_row("99 003-95-96")))

    product = found["MedicinalProductDefinition/es-aemps-mpd-99-003-95-96.b1fa45"]
    assert product["identifier"][0]["value"] == "99 003-95-96"
    assert "Bundle" not in {ref.split("/")[0] for ref in found}  # its only document is a PDF
    assert [p["part"] for p in product["name"][0]["part"]] == ["25 \u00b5g", "GRAGEA"]


def test_a_local_representative_is_an_organization_of_its_own(make_row: MakeRow) -> None:
    found = resources(to_changes(make_row("99 003-95-96")))
    contacts = one(found, "MedicinalProductDefinition")["contact"]

    assert contacts[0]["type"]["coding"][0]["code"] == "220000000034"
    assert contacts[1]["type"]["text"] == "Local representative"
    assert found[contacts[1]["contact"]["reference"]]["name"] == "Ínsula Barataria Comercial, S.A."
    assert one(found, "RegulatedAuthorization")["holder"] == contacts[0]["contact"]


def test_a_firm_that_represents_itself_is_one_organization(make_row: MakeRow) -> None:
    row = make_row("99 003-95-96", labcomercializador="Establecimientos Clavileño, S.A.")

    names = [r["name"] for ref, r in resources(to_changes(row)).items() if ref.startswith("Organization/")]

    assert names == ["Agencia Española de Medicamentos y Productos Sanitarios", "Establecimientos Clavileño, S.A."]


def test_an_organization_says_its_name_and_nothing_that_depends_on_the_product(make_row: MakeRow) -> None:
    found = resources(to_changes(make_row("99001")))
    firm = found[one(found, "RegulatedAuthorization")["holder"]["reference"]]

    assert firm.keys() == {"resourceType", "id", "meta", "identifier", "name"}
    assert found["Organization/es-aemps-org-aemps"]["identifier"][0]["value"] == "ORG-100003943"


def test_a_suspended_product_stays_and_its_authorization_says_so(make_row: MakeRow) -> None:
    found = resources(to_changes(make_row("99 003-95-96")))
    product, authorization = one(found, "MedicinalProductDefinition"), one(found, "RegulatedAuthorization")

    assert product["status"]["coding"][0]["code"] == "active"
    assert product["statusDate"] == "2023-10-29"
    assert authorization["status"] == {"text": "Suspended"}
    assert authorization["validityPeriod"] == {"start": "1962-01-31"}


def test_a_pack_that_is_suspended_alone_says_so(make_row: MakeRow, body: Any) -> None:
    packs = body("medicamento_99001")["presentaciones"]
    packs[0]["estado"]["susp"] = 1_714_514_400_000  # 2024-05-01
    found = resources(to_changes(make_row("99001", presentaciones=packs)))

    first, second = (found[f"PackagedProductDefinition/es-aemps-ppd-{pack['cn']}"] for pack in packs)
    assert (first["status"]["text"], first["statusDate"]) == ("Suspended", "2024-05-01")
    assert first["status"]["coding"][0]["code"] == "active"
    assert "text" not in second["status"]
    assert one(found, "RegulatedAuthorization")["status"]["coding"][0]["code"] == "active"


def test_a_withdrawn_product_is_retired_everywhere_and_its_text_unchanged(make_row: MakeRow) -> None:
    standing = {"aut": 1_466_978_400_000, "rev": 1_714_514_400_000}  # 2016-06-27, 2024-05-01
    before, after = (resources(to_changes(make_row("99001", **change))) for change in ({}, {"estado": standing}))

    authorization = one(after, "RegulatedAuthorization")
    assert authorization["status"]["coding"][0]["code"] == "retired"
    assert authorization["validityPeriod"] == {"start": "2016-06-27", "end": "2024-05-01"}
    for ref, resource in after.items():
        inner = [e["resource"] for e in resource["entry"]] if ref.startswith("Bundle/") else [resource]
        for r in inner:
            if r["resourceType"] == "Composition":
                own = before[f"Composition/{r['id']}"]
                assert r["status"] == "deprecated"
                assert (r["section"], r["identifier"]) == (own["section"], own["identifier"])
            elif r["resourceType"] not in ("Organization", "DocumentReference"):
                assert r["status"] == "retired" or r["status"]["coding"][0]["code"] == "retired"
                assert r.get("statusDate", "2024-05-01") == "2024-05-01"


@pytest.mark.parametrize(("susp", "rev", "day"), [(1, 2, "2024-05-02"), (2, 1, "2024-05-02"), (2, 2, "2024-05-02")])
def test_a_product_that_was_suspended_and_is_withdrawn_is_withdrawn(
    make_row: MakeRow, susp: int, rev: int, day: str
) -> None:
    """Suspended first, as a rule; in whatever order, a withdrawn product does not come back by itself."""
    first = 1_714_514_400_000  # 2024-05-01, which is day 1
    standing = {"aut": 1_466_978_400_000} | {n: first + (d - 1) * 86_400_000 for n, d in (("susp", susp), ("rev", rev))}
    found = resources(to_changes(make_row("99001", estado=standing)))

    product, authorization = one(found, "MedicinalProductDefinition"), one(found, "RegulatedAuthorization")
    assert product["status"]["coding"][0]["code"] == authorization["status"]["coding"][0]["code"] == "retired"
    assert "text" not in authorization["status"]
    assert product["statusDate"] == authorization["statusDate"] == day
    assert authorization["validityPeriod"]["end"] == f"2024-05-0{rev}"
    packs = [r for r in found.values() if r["resourceType"] == "PackagedProductDefinition"]
    assert {(p["status"]["coding"][0]["code"], p["statusDate"]) for p in packs} == {("retired", f"2024-05-0{rev}")}


def test_a_pack_can_go_alone(make_row: MakeRow, body: Callable[[str], Any]) -> None:
    packs = body("medicamento_99001")["presentaciones"]
    packs[1]["estado"]["rev"] = 1_714_514_400_000

    found = resources(to_changes(make_row("99001", presentaciones=packs)))

    one_, other = (found[f"PackagedProductDefinition/es-aemps-ppd-99910{n}"] for n in (1, 2))
    assert (one_["status"]["coding"][0]["code"], one_["statusDate"]) == ("active", "2016-06-27")
    assert (other["status"]["coding"][0]["code"], other["statusDate"]) == ("retired", "2024-05-01")


def test_a_pack_put_on_sale_changes_the_pack_alone(make_row: MakeRow, body: Callable[[str], Any]) -> None:
    packs = body("medicamento_99001")["presentaciones"]
    packs[0]["comerc"] = False

    before, after = (
        {c.ref: c for c in to_changes(make_row("99001", **change))} for change in ({}, {"presentaciones": packs})
    )

    changed = [str(ref) for ref in after if after[ref] != before[ref]]
    assert changed == ["PackagedProductDefinition/es-aemps-ppd-999101"]


def test_a_pack_without_an_answer_of_its_own_is_mapped_without_its_codes(
    make_row: MakeRow, answer: Callable[..., Any]
) -> None:
    row = make_row("99001")
    others = tuple(a for a in row.answers if a.part != "presentacion/999102")
    found = resources(to_changes(Row(row.key, (*others, answer("presentacion/999102", None)), row.order)))

    assert "PackagedProductDefinition/es-aemps-ppd-999102" in found
    codes = [c["code"] for c in one(found, "MedicinalProductDefinition")["code"]]
    assert codes == ["990010001401", "990020001402", "990030001403"]


def test_without_a_prescription_and_without_the_flag_nothing_is_guessed(make_row: MakeRow) -> None:
    free, unknown = (
        one(resources(to_changes(make_row("99001", receta=flag, cpresc="Sin Receta"))), "MedicinalProductDefinition")
        for flag in (False, None)
    )

    assert free["legalStatusOfSupply"]["coding"][0]["code"] == "100000072076"
    assert unknown["legalStatusOfSupply"] == {"text": "Sin Receta"}


def test_what_the_register_leaves_out_is_left_out(make_row: MakeRow) -> None:
    bare = dict.fromkeys(["cpresc", "receta", "vtm", "dosis", "formaFarmaceutica", "atcs", "nosustituible", "docs"])
    row = make_row("99001", **bare, generico=False, conduc=False, triangulo=False, presentaciones=[])

    found = one(resources(to_changes(row)), "MedicinalProductDefinition")

    assert found.keys() == {
        "resourceType", "id", "meta", "identifier", "type", "domain", "status", "statusDate", "contact", "name",
    }  # fmt: skip
    assert found["name"][0].keys() == {"productName", "type", "usage"}


def test_a_period_never_ends_before_it_starts(make_row: MakeRow) -> None:
    row = make_row("99001", estado={"aut": 1_466_978_400_000, "rev": 1_466_978_400_000 - 30 * DAY})

    authorization = one(resources(to_changes(row)), "RegulatedAuthorization")

    assert authorization["validityPeriod"] == {"start": "2016-06-27"}
    assert authorization["status"]["coding"][0]["code"] == "retired"


def test_an_approval_before_1901_is_a_plain_day(make_row: MakeRow) -> None:
    found = resources(to_changes(make_row("99001", estado={"aut": -2_300_000_000_000})))

    assert one(found, "RegulatedAuthorization")["validityPeriod"]["start"] == "1897-02-11"
    assert found["Bundle/es-aemps-bundle-ft-99001"]["timestamp"] == "1897-02-11T00:00:00Z"


def test_control_characters_never_reach_the_sink(make_row: MakeRow) -> None:
    found = resources(to_changes(make_row("99001", nombre="FANTA\u0000SINA\u001f 50 mg\tX")))

    assert one(found, "MedicinalProductDefinition")["name"][0]["productName"] == "FANTASINA 50 mg\tX"
