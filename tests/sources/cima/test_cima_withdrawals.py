"""Withdrawal, suspension and return, by runs over the folder sink and a store: what lies there afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cima_house import CimaHouse, changes
from fake_cima import stamp

from tsi_fetch.identity import Identity
from tsi_fetch.words import Ref, State

REV, SUSP = stamp("2026-02-27T23:00:00+00:00"), stamp("2026-02-20T23:00:00+00:00")
POLICIES = ("retire", "delete", "keep")
LEAFLET = {
    "Bundle/es-aemps-bundle-p-99001",
    "Composition/es-aemps-comp-p-99001",
    "DocumentReference/es-aemps-doc-99001-p",
}
LIST = "List/es-aemps-list-99001"
RETIRED = {
    "Composition": "deprecated",
    "DocumentReference": "superseded",
    "Bundle": "deprecated",
    "Organization": "inactive",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> CimaHouse:
    """After its first night."""
    made = CimaHouse(tmp_path_factory.mktemp("cima"))
    assert set(changes(made.night())["MedicinalProductDefinition"]) == {"created"}
    return made


@pytest.fixture
def house(loaded: CimaHouse, tmp_path: Path) -> CimaHouse:
    return loaded.copied(tmp_path, "retire")


@pytest.fixture(params=POLICIES)
def any_house(loaded: CimaHouse, tmp_path: Path, request: pytest.FixtureRequest) -> CimaHouse:
    return loaded.copied(tmp_path, request.param)


def _own(house: CimaHouse, number: str = "99001") -> set[str]:
    """What is of this product alone."""
    packs = ("999101", "999102")
    return {n for n in house.statuses() if number in n or any(cn in n for cn in packs)}


def _written(house: CimaHouse, before: dict[Ref, bytes]) -> set[str]:
    """What is another file now, is new, or is gone."""
    after = house.files()
    return {str(ref) for ref in before.keys() | after.keys() if before.get(ref) != after.get(ref)}


def _moved(house: CimaHouse, *flags: str, kind: int = 3) -> set[str]:
    """A night after the register told of the product; what it wrote, all of which the run counts, and nothing twice."""
    before, known = house.files(), house.known()
    house.tell(*flags, kind=kind)
    report = house.night()
    written, counted = _written(house, before), changes(report)
    assert sum(sum(words.values()) for words in counted.values()) == len(written)
    assert all((k.order or 0) >= (known[ref].order or 0) for ref, k in house.known().items() if ref in known)
    _is_quiet(house)
    return written


def _is_over(resource: Any) -> bool:
    return bool({"retired", "deprecated"} & set(re.findall(r"\w+", json.dumps(resource.get("status")))))


def _is_quiet(house: CimaHouse) -> None:
    """Told the same again, and asked for everything, the next night writes nothing."""
    before = house.files()
    house.tell("ft", "p")
    assert changes(house.night(full=True)) == {}
    assert house.files() == before


def _leave(house: CimaHouse, before: dict[str, str], names: set[str]) -> None:
    """These are as the policy wants them."""
    after = house.statuses()
    if house.removal == "delete":
        assert not names & after.keys()
        assert {house.known()[Ref.parse(name)].state for name in names} == {State.DELETED}
        return
    wanted = {n: RETIRED.get(n.partition("/")[0], "retired") if house.removal == "retire" else before[n] for n in names}
    assert {name: after[name] for name in names} == wanted


def test_an_unchanged_night_writes_nothing(house: CimaHouse) -> None:
    _is_quiet(house)
    assert changes(house.night()) == {}
    assert [call.partition("?")[0] for call in house.register.calls] == ["registroCambios"]


def test_a_revoked_product_is_over_in_all_that_says_so_and_whole_again_when_it_is_allowed(any_house: CimaHouse) -> None:
    house, first = any_house, any_house.files()
    house.product()["estado"]["rev"] = REV
    written = _moved(house, "estado")
    statuses = house.statuses()
    over = {name for name in _own(house) if not name.startswith("DocumentReference")}
    assert written == over
    assert {statuses[n] for n in over} == {"retired", "deprecated"}
    assert {statuses[n] for n in statuses if n.startswith("DocumentReference")} == {"current"}
    assert {statuses[n] for n in statuses if n.startswith("Organization")} == {"active"}
    inside = house.resource("Bundle/es-aemps-bundle-p-99001")["entry"]
    alone = {f"{r['resourceType']}/{r['id']}": r["status"] for r in (e["resource"] for e in inside) if "status" in r}
    assert alone == {name: house.resource(name)["status"] for name in alone}
    del house.product()["estado"]["rev"]
    assert _moved(house, "estado") == over
    assert house.files() == first


def test_a_suspended_product_says_so_in_its_authorization_alone_but_for_the_day(house: CimaHouse) -> None:
    first = house.files()
    house.product()["estado"]["susp"] = SUSP
    written = _moved(house, "estado")
    assert house.statuses()["RegulatedAuthorization/es-aemps-ra-99001"] == "Suspended"
    assert house.statuses()["MedicinalProductDefinition/es-aemps-mpd-99001"] == "active"
    assert {name.partition("/")[0] for name in written} == {
        "MedicinalProductDefinition",  # its statusDate
        "RegulatedAuthorization",
        "Bundle",  # in which both stand
    }
    del house.product()["estado"]["susp"]
    assert _moved(house, "estado") == written
    assert house.files() == first


@pytest.mark.parametrize("revoked", [False, True], ids=["active", "revoked"])
def test_a_product_that_the_register_no_longer_knows_leaves_whole_and_comes_back(
    any_house: CimaHouse, revoked: bool
) -> None:
    house = any_house
    if revoked:
        house.product()["estado"]["rev"] = REV
        _moved(house, "estado")
    first, before = house.files(), house.statuses()
    product = house.register.products.pop("99001")
    written = _moved(house, kind=2)
    own = _own(house) if house.removal != "delete" else {n for n in before if n in written}
    assert {"DocumentReference/es-aemps-psum-999102-1769986800000", LIST} <= own
    assert not any("99_003" in name or "1998001001" in name for name in written)
    _leave(house, before, {n for n in before if n in own})
    assert house.statuses()["Organization/es-aemps-org-aemps"] == "active"
    house.register.products["99001"] = product
    assert _moved(house, kind=1) == written
    assert house.files() == first
    assert {k.state for k in house.known().values()} == {State.LIVE}


def test_what_the_others_need_stays_when_a_product_goes(any_house: CimaHouse) -> None:
    house, before = any_house, any_house.statuses()
    house.product("1998001001")["labtitular"] = house.product()["labtitular"]
    house.tell("labtitular", nregistro="1998001001")
    house.night()
    holder = house.resource("RegulatedAuthorization/es-aemps-ra-99001")["holder"]["reference"]
    del house.register.products["99001"]
    _moved(house, kind=2)
    assert house.statuses()[holder] == before[holder] == "active"


def test_a_document_that_leaves_takes_its_bundle_composition_and_entry_along_and_brings_them_back(
    any_house: CimaHouse,
) -> None:
    house, first, before = any_house, any_house.files(), any_house.statuses()
    (paper,) = [d for d in house.product()["docs"] if d["tipo"] == 2]
    house.product()["docs"].remove(paper)
    written = _moved(house, "p")
    assert written == {LIST, *(LEAFLET if house.removal != "keep" else ())}
    _leave(house, before, LEAFLET)
    assert [e["item"]["reference"] for e in house.resource(LIST)["entry"]] == ["Bundle/es-aemps-bundle-ft-99001"]
    assert house.statuses()[LIST] == "current"
    if house.removal == "retire":
        inner = [entry["resource"] for entry in house.resource("Bundle/es-aemps-bundle-p-99001")["entry"]]
        assert {r["resourceType"] for r in inner if _is_over(r)} == {"Composition"}, "the product is on sale as before"
    house.product()["docs"].append(paper)
    assert _moved(house, "p") == written
    assert house.files() == first


def test_a_document_that_leaves_as_its_product_is_revoked_says_that_the_product_is_over(house: CimaHouse) -> None:
    house.product()["estado"]["rev"] = REV
    house.product()["docs"] = [d for d in house.product()["docs"] if d["tipo"] != 2]
    _moved(house, "estado", "p")
    assert house.statuses()["MedicinalProductDefinition/es-aemps-mpd-99001"] == "retired"
    assert _alive_inside(house, "Bundle/es-aemps-bundle-p-99001") == set()


def test_a_document_that_leaves_under_a_prefix_does_not_end_its_product(tmp_path: Path) -> None:
    """The entries of a document have the register's own ids."""
    house, identity = CimaHouse(tmp_path), Identity("x")
    house.night(identity=identity)
    house.product()["docs"] = [d for d in house.product()["docs"] if d["tipo"] != 2]
    house.tell("p")
    house.night(identity=identity)
    alive = _alive_inside(house, "Bundle/x-es-aemps-bundle-p-99001")
    assert {"MedicinalProductDefinition", "RegulatedAuthorization", "PackagedProductDefinition"} <= alive
    assert "Composition" not in alive


@pytest.mark.parametrize("spoilt", [b"", b"{", b"[]", b'{"resourceType":"Patient"}', b'{"resourceType":"Bundle"}'])
def test_a_file_that_somebody_spoilt_keeps_nothing_else_from_leaving(house: CimaHouse, spoilt: bytes) -> None:
    (house.folder / "Bundle/es-aemps-bundle-p-99001.json").write_bytes(spoilt)
    house.product()["docs"] = [d for d in house.product()["docs"] if d["tipo"] != 2]
    house.tell("p")
    assert house.any_night().exit_code == 65
    assert house.troubles() == {"removal of Bundle/es-aemps-bundle-p-99001"}
    assert json.loads(house.files()[Ref("DocumentReference", "es-aemps-doc-99001-p")])["status"] == "superseded"
    assert house.any_night().exit_code == 0, "it was told"


def _alive_inside(house: CimaHouse, bundle: str) -> set[str]:
    """Types of what a document has as entries that are not over; who published it is no matter of its end."""
    inner = [entry["resource"] for entry in house.resource(bundle)["entry"]]
    return {r["resourceType"] for r in inner if r["resourceType"] != "Organization" and not _is_over(r)}


def test_with_the_last_document_the_list_leaves(any_house: CimaHouse) -> None:
    house, first, before = any_house, any_house.files(), any_house.statuses()
    docs, house.product()["docs"] = house.product()["docs"], []
    gone = LEAFLET | {name.replace("-p-", "-ft-") for name in LEAFLET if not name.endswith("-p")}
    gone |= {"DocumentReference/es-aemps-doc-99001-ft", LIST}
    written = _moved(house, "ft", "p")
    assert written == (gone if house.removal != "keep" else set())
    _leave(house, before, gone)
    house.product()["docs"] = docs
    assert _moved(house, "ft") == written
    assert house.files() == first


def test_a_document_that_no_longer_comes_in_sections_stays_as_a_pdf(any_house: CimaHouse) -> None:
    house, before = any_house, any_house.statuses()
    (paper,) = [d for d in house.product()["docs"] if d["tipo"] == 2]
    paper["secc"] = False
    _moved(house, "p")
    text = {name for name in LEAFLET if not name.startswith("DocumentReference")}
    _leave(house, before, text)
    assert house.statuses()["DocumentReference/es-aemps-doc-99001-p"] == "current"


def test_a_pack_withdrawn_alone_is_over_and_the_product_is_not(house: CimaHouse) -> None:
    first = house.files()
    for pack in (house.product()["presentaciones"][0], house.register.presentations["999101"]):
        pack["estado"]["rev"] = REV
    written = _moved(house, "estado")
    pack_there, bundles = "PackagedProductDefinition/es-aemps-ppd-999101", {n for n in _own(house) if "bundle" in n}
    assert written == {pack_there, *bundles}
    assert house.statuses()[pack_there] == "retired"
    assert house.statuses()["PackagedProductDefinition/es-aemps-ppd-999102"] == "active"
    assert {house.statuses()[name] for name in bundles} == {"final"}
    for pack in (house.product()["presentaciones"][0], house.register.presentations["999101"]):
        del pack["estado"]["rev"]
    assert _moved(house, "estado") == written
    assert house.files() == first


def test_a_pack_that_is_no_longer_listed_leaves_with_its_supply_problem(any_house: CimaHouse) -> None:
    house, first, before = any_house, any_house.files(), any_house.statuses()
    pack = house.product()["presentaciones"].pop()
    gone = {"PackagedProductDefinition/es-aemps-ppd-999102", "DocumentReference/es-aemps-psum-999102-1769986800000"}
    written = _moved(house, "estado")
    named = {"MedicinalProductDefinition/es-aemps-mpd-99001"}  # its codes are those of its packs
    written_beside = {name for name in written if not name.startswith("Bundle")}
    assert written_beside == named | (gone if house.removal != "keep" else set())
    _leave(house, before, gone)
    inside = {e["resource"]["id"] for e in house.resource("Bundle/es-aemps-bundle-ft-99001")["entry"]}
    assert "es-aemps-ppd-999101" in inside
    assert "es-aemps-ppd-999102" not in inside
    house.product()["presentaciones"].append(pack)
    assert _moved(house, "estado") == written
    assert house.files() == first


def _no_notes(house: CimaHouse) -> None:
    house.register.notes["99001"], house.product()["notas"] = [], False


def _no_materials(house: CimaHouse) -> None:
    house.register.materials["99001"], house.product()["materialesInf"] = [], False


def _no_problem(house: CimaHouse) -> None:
    del house.register.supply["999102"]
    for one in (house.product(), *house.product()["presentaciones"]):
        one["psum"] = False


@pytest.mark.parametrize(
    ("flag", "told", "end", "part", "removal"),
    [
        ("notasSeguridad", "notasSeguridad", _no_notes, "-nota-", "retire"),
        ("notasSeguridad", "estado", _no_notes, "-nota-", "delete"),
        ("matinf", "matinf", _no_materials, "-mat-", "delete"),
        ("matinf", "estado", _no_materials, "-mat-", "keep"),
        ("psum", "psum", _no_problem, "-psum-", "keep"),
        ("psum", "estado", _no_problem, "-psum-", "retire"),
    ],
)
def test_what_stands_beside_a_product_leaves_alone_whoever_tells_it(
    house: CimaHouse, flag: str, told: str, end: Callable[[CimaHouse], None], part: str, removal: str
) -> None:
    house.removal, first, before = removal, house.files(), house.statuses()
    gone = {name for name in before if part in name}
    notes, materials, supply = house.register.notes, house.register.materials, house.register.supply
    kept = [dict(notes), dict(materials), dict(supply)]
    end(house)
    written = _moved(house, told)
    assert gone
    assert written == (gone if house.removal != "keep" else set())
    _leave(house, before, gone)
    for there, was in zip((notes, materials, supply), kept, strict=True):
        there.update(was)
    house.product().update(notas=True, materialesInf=True, psum=True)
    assert _moved(house, flag) == written
    assert house.files() == first


def test_a_row_of_a_flag_asks_for_nothing_of_the_product_but_itself(house: CimaHouse) -> None:
    house.tell("psum")
    report = house.night()
    asked = [call for call in house.register.calls if not call.startswith("registroCambios")]
    assert asked == ["medicamento?nregistro=99001", "psuministro/v2/cn/999101", "psuministro/v2/cn/999102"]
    assert changes(report) == {}


def test_a_flag_of_a_product_that_is_gone_removes_what_the_flag_stands_for_and_then_all(house: CimaHouse) -> None:
    before = house.statuses()
    del house.register.products["99001"]
    house.tell("notasSeguridad")
    house.night()
    note = {name for name in before if "-nota-" in name}
    _leave(house, before, note)
    assert house.statuses()[LIST] == "current"
    _moved(house, kind=2)
    assert house.statuses()[LIST] == "retired"
