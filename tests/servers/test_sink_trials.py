"""Whole runs into real FHIR servers: forward references and circles, the largest things, and what is poisoned."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from document_source import DocumentSource, ref_of
from fhir_trial import Look, Trial, own_prefix
from leaflet_guide import FORWARD, XHTML, Guide, circles, forward

from tsi_fetch.fhir.tokens import dump
from tsi_fetch.report import Report
from tsi_fetch.words import Json, Ref

pytestmark = pytest.mark.servers

NARROW = 2  # resources in a bundle: fewer than the circle has, which travels whole all the same
MARKER = 2  # transactions that move the marker: before the first write, and at the end


@pytest.fixture
def prefix() -> str:
    return own_prefix()


def observation(ident: str, **members: Json) -> bytes:
    quantity = {"value": 37, "unit": "mg"}
    made = {"resourceType": "Observation", "id": ident, "status": "final", "code": {"text": "dose"}}
    return dump({**made, "valueQuantity": quantity, **members})


def observations(prefix: str, count: int) -> list[bytes]:
    return [observation(f"{prefix}-{n:04}") for n in range(count)]


def ended(report: Report) -> tuple[str, int, int]:
    return report.outcome, report.exit_code, report.troubles


def created(report: Report) -> int:
    return sum(counts.get("created", 0) for counts in report.counts.values())


# -- the model case


def test_the_guide_has_61_forward_references_and_one_circle(prefix: str) -> None:
    guide = Guide(prefix)
    bodies = [(ref_of(body), body) for body in guide.resources()]
    assert len(forward(bodies)) == FORWARD == 61
    assert circles(bodies) == [guide.ring()]
    assert len({ref.type for ref, _ in bodies}) == 12


def test_a_guide_with_forward_references_comes_whole_onto_an_empty_server(
    hapi: str, tmp_path: Path, prefix: str
) -> None:
    source = DocumentSource(batch=5)
    source.give_each(Guide(prefix).resources())
    trial, look, there = Trial(tmp_path, hapi, source, entries=NARROW), Look(hapi), source.resources()
    report = trial.run()
    assert ended(report) == ("done", 0, 0), (report.reasons, report.quarantined)
    assert created(report) == len(there)
    assert {action for counts in report.counts.values() for action in counts} == {"created"}
    assert look.differs(there) == []
    assert look.versions(there) == {"1"}
    assert trial.waiting() == {}
    again = trial.run()
    assert (ended(again), again.counts, trial.sent.transactions) == (("done", 0, 0), {}, 0)


def test_a_guide_that_comes_in_three_nights_waits_for_what_is_to_come(hapi: str, tmp_path: Path, prefix: str) -> None:
    guide, source = Guide(prefix), DocumentSource(batch=4)
    trial, look = Trial(tmp_path, hapi, source, entries=NARROW), Look(hapi)
    company = Ref("Organization", f"{prefix}-company")
    for number, night in enumerate(guide.nights(), 1):
        source.give_each(night)
        report = trial.run()
        assert ended(report) == ("done", 0, 0), (number, report.reasons, report.quarantined)
        waiting, given = trial.waiting(), source.resources()
        assert waiting.keys() <= given.keys()
        assert look.held(given.keys()).keys() == given.keys() - waiting.keys(), number
        if number < 3:
            assert company in waiting[Ref("MedicinalProductDefinition", f"{prefix}-product-{2 * number - 1}")]
            assert guide.ring() & waiting.keys() == guide.ring() & given.keys()
            assert len(look.held(given.keys())) > 10 * (number - 1)
    assert waiting == {}
    assert look.differs(source.resources()) == []
    assert look.versions(source.resources()) == {"1"}


# -- the largest things


def leaflet(prefix: str, *inner: Json, text: str = "<p>take it</p>") -> bytes:
    """A document with a leaflet of one section."""
    narrative = {"status": "additional", "div": f'<div xmlns="{XHTML}">{text}</div>'}
    section = [{"title": "How to take it", "text": narrative}]
    composition = {
        "resourceType": "Composition",
        "id": "leaflet",
        "status": "final",
        "type": {"text": "leaflet"},
        "date": "2026-01-15",
        "author": [{"display": "Laboratorios"}],
        "title": "Leaflet",
        "section": section,
    }
    entry = [
        {"fullUrl": f"http://guide.invalid/{r['resourceType']}/{r['id']}", "resource": r} for r in (composition, *inner)
    ]
    return dump(
        {
            "resourceType": "Bundle",
            "id": f"{prefix}-document",
            "type": "document",
            "identifier": {"system": "http://guide.invalid/id", "value": prefix},
            "timestamp": "2026-01-15T10:00:00Z",
            "entry": entry,
        }
    )


def long_text(prefix: str) -> bytes:
    return leaflet(prefix, text=f"<p>{'one tablet ' * 90}</p>" * 20_500)


def many_entries(prefix: str) -> bytes:
    return leaflet(prefix, *({"resourceType": "Organization", "id": f"o{n}", "name": f"O{n}"} for n in range(1999)))


@pytest.mark.parametrize("make", [long_text, many_entries])
def test_a_document_as_large_as_they_come_is_written_whole(
    hapi: str, tmp_path: Path, prefix: str, make: Callable[[str], bytes]
) -> None:
    body, source = make(prefix), DocumentSource()
    assert len(body) > 20_000_000 or body.count(b'"fullUrl"') == 2000
    source.give("document", body)
    trial, look = Trial(tmp_path, hapi, source), Look(hapi)
    report = trial.run()
    assert ended(report) == ("done", 0, 0), (report.reasons, report.quarantined)
    assert look.differs(source.resources()) == []
    assert trial.sent.transactions == MARKER + 1
    assert trial.run().counts == {}


def test_a_thousand_resources_of_one_row_go_in_many_bundles(hapi: str, tmp_path: Path, prefix: str) -> None:
    source = DocumentSource()
    source.give("all", *observations(prefix, 1000))
    trial, look = Trial(tmp_path, hapi, source), Look(hapi)
    report = trial.run(validate="off")
    assert ended(report) == ("done", 0, 0), (report.reasons, report.quarantined)
    assert report.counts["Observation"] == {"created": 1000}
    assert trial.sent.transactions == MARKER + 10
    assert look.differs(source.resources()) == []
    assert look.versions(source.resources()) == {"1"}


# -- what is poisoned

WRONG_DATE = {"effectiveDateTime": "2026-13-45"}
NUL = {"identifier": [{"system": "http://guide.invalid/id", "value": "a\0b"}]}
LONG_TAG = {"meta": {"tag": [{"system": "http://guide.invalid/tags", "code": "x" * 300}]}}


def bisections(poisoned: int, bundle: int = 100) -> int:
    """Transactions that it may take to find so many in bundles of this size: twice per halving, and thrice each."""
    return poisoned * (2 * math.ceil(math.log2(bundle)) + 3)


@pytest.mark.parametrize(
    ("poison", "code", "where"),
    [
        pytest.param(WRONG_DATE, "hapi-0450", {123}, id="a wrong date"),
        pytest.param(NUL, "hapi-0389", {200}, id="a NUL"),
        pytest.param(LONG_TAG, "hapi-2023", {7, 250, 299}, id="three long tags"),
    ],
)
def test_of_three_hundred_all_but_the_poisoned_arrive(
    hapi: str, tmp_path: Path, prefix: str, poison: dict[str, Json], code: str, where: set[int]
) -> None:
    poisoned(hapi, "R5", tmp_path, prefix, poison, code, where, 300)


def test_two_poisoned_alone_in_a_bundle_are_blamed_for_what_they_do(hapi: str, tmp_path: Path, prefix: str) -> None:
    poisoned(hapi, "R5", tmp_path, prefix, NUL, "hapi-0389", {7, 300, 301}, 302)


@pytest.mark.parametrize(
    ("poison", "code"),
    [pytest.param(WRONG_DATE, "hapi-0450", id="a wrong date"), pytest.param(NUL, "hapi-0389", id="a NUL")],
)
def test_the_other_server_blames_the_poisoned_only_as_well(
    hapi_r4: str, tmp_path: Path, prefix: str, poison: dict[str, Json], code: str
) -> None:
    poisoned(hapi_r4, "R4", tmp_path, prefix, poison, code, {7, 60, 61}, 62)


def poisoned(
    url: str, release: str, folder: Path, prefix: str, poison: dict[str, Json], code: str, where: set[int], count: int
) -> None:
    """Of so many resources the poisoned ones lie in quarantine, in the server's words, and all others arrive."""
    source = DocumentSource(batch=count)
    bad = {f"{prefix}-{n:04}" for n in where}
    source.give_each(observation(i, **(poison if i in bad else {})) for i in (f"{prefix}-{n:04}" for n in range(count)))
    trial, look = Trial(folder, url, source, release), Look(url)
    report = trial.run(validate="off")
    assert ended(report) == ("quarantined", 65, len(bad)), report.reasons
    assert {t.key for t in report.quarantined} == {f"Observation/{i} Observation/{i}" for i in bad}
    assert {t.code for t in report.quarantined} == {code}
    assert all(f"HAPI-{code[-4:]}" in t.rule for t in report.quarantined), report.quarantined
    good = {ref: body for ref, body in source.resources().items() if ref.id not in bad}
    assert look.differs(good) == []
    assert look.versions(good) == {"1"}
    assert look.held(Ref("Observation", i) for i in bad) == {}
    bundles = math.ceil(count / 100)
    assert trial.sent.transactions <= MARKER + bundles + bisections(len(bad))
    again = trial.run(validate="off")
    assert (again.exit_code, again.counts, trial.sent.transactions) == (0, {}, 0)
