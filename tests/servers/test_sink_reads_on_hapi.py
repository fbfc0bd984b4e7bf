"""What our sink finds on the real servers: the right one, versions, bodies, its marker."""

from __future__ import annotations

import json

import pytest

from sinks.fhir.server import FhirServer
from tests.servers.conversation import Crowd, Fhir, Ids, document, observed, org
from tests.servers.sink_writes import Make, a_put, an_org, held, permit, results, write
from tsi_fetch.errors import Guarded, SettingError
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import dump, number
from tsi_fetch.words import Mark, Ref, Result, Write, WriteAction

pytestmark = pytest.mark.servers


def test_the_server_is_the_one_the_job_means(make: Make, fhir: Fhir) -> None:
    make().open(["Organization", "Bundle"])
    other = "R4" if fhir.release == "R5" else "R5"
    with pytest.raises(SettingError, match=other):
        make(release=other).open()


def test_a_type_that_the_server_does_not_offer_is_a_wrong_setting(make: Make) -> None:
    with pytest.raises(SettingError, match="Nonsense"):
        make().open(["Organization", "Nonsense"])


@pytest.mark.parametrize("path", ["/", "/fhir/nowhere", "/../nowhere"])
def test_a_wrong_base_is_a_wrong_setting(make: Make, fhir: Fhir, path: str) -> None:
    with pytest.raises(SettingError):
        make(url=fhir.url.removesuffix("/fhir") + path).open()


def test_the_precision_of_a_decimal_is_kept(sink: FhirServer, ids: Ids) -> None:
    written = a_put(observed(ids("a"), number("1.00")))
    assert results(write(sink, written)) == [Result.CREATED]
    read = held(sink, written).body or b""
    assert b'"value":1.00' in read
    assert same(written.body or b"", read)
    assert results(write(sink, a_put(observed(ids("a"), number("1.0")), "1"))) == [Result.UPDATED]


def test_tags_become_exactly_what_was_sent(sink: FhirServer, ids: Ids) -> None:
    def tagged(version: str | None, *codes: str) -> Write:
        return an_org(ids("a"), version, meta={"tag": [{"system": "http://t.invalid", "code": c} for c in codes]})

    write(sink, tagged(None, "x", "y"))
    [removed] = write(sink, tagged("1", "y"))
    assert removed.result is Result.UPDATED
    tags = json.loads(held(sink, tagged(None)).body or b"")["meta"]["tag"]
    assert [t["code"] for t in tags] == ["y"]


def test_a_narrative_that_the_server_adds_is_not_a_difference(sink: FhirServer, ids: Ids) -> None:
    written = a_put({"resourceType": "Patient", "id": ids("a"), "name": [{"family": "Roe"}]})
    write(sink, written)
    assert same(written.body or b"", held(sink, written).body or b"")


def test_a_document_bundle_comes_back_equal_to_what_was_sent(sink: FhirServer, ids: Ids) -> None:
    patient = {"resourceType": "Patient", "id": "p", "name": [{"family": "Roe"}]}
    written = a_put(document(ids("doc"), patient))
    assert results(write(sink, written)) == [Result.CREATED]
    assert same(written.body or b"", held(sink, written).body or b"")


def test_two_thousand_versions_are_read_in_bulk(sink: FhirServer, crowd: Crowd) -> None:
    found = sink.find([Ref("Organization", name) for name in crowd.names])
    assert len(found) == 2000
    assert {h.version for h in found.values()} == {"1"}


def test_everything_alive_of_a_type_is_listed(sink: FhirServer, crowd: Crowd) -> None:
    listed = [h.ref.id for page in sink.listing("Organization") for h in page]
    assert set(crowd.names) <= set(listed)
    assert len(listed) == len(set(listed))


def test_bundles_are_found_by_their_versions_too(sink: FhirServer, ids: Ids) -> None:
    written = a_put(document(ids("doc")))
    write(sink, written)
    assert sink.find([written.ref, Ref("Bundle", ids("none"))])[written.ref].version == "1"


def test_what_was_just_written_is_found_although_the_same_search_was_just_made(sink: FhirServer, ids: Ids) -> None:
    one = an_org(ids("a"), name="A")
    assert sink.find([one.ref]) == {}
    write(sink, one)
    assert sink.find([one.ref])[one.ref].version == "1"


def test_an_unknown_type_is_not_found_and_refused(sink: FhirServer, ids: Ids) -> None:
    ref = Ref("Nonsense", ids("a"))
    assert sink.find([ref]) == {}
    [outcome] = write(sink, Write(ref, WriteAction.PUT, None, dump({"resourceType": "Nonsense", "id": ref.id})))
    assert outcome.result is Result.REFUSED


def test_the_marker_moves_guarded(make: Make, ids: Ids) -> None:
    name = f"tsi-fetch-{ids('cima')}"
    sink = make()
    assert sink.read_mark(name) is None
    first = sink.move_mark(name, Mark("run-1", 1), permit)
    second = sink.move_mark(name, Mark("run-1", 2, first.version), permit)
    assert sink.read_mark(name) == second
    with pytest.raises(Guarded):
        sink.move_mark(name, Mark("run-2", 3, first.version), permit)


def test_the_server_keeps_a_run_id_of_sixteen_characters(make: Make, ids: Ids) -> None:
    run = "20261121T0900-ab"
    sink = make(run)
    one = an_org(ids("a"))
    write(sink, one)
    assert held(sink, one).run == run


def test_the_versions_of_a_resource_say_when_and_by_whom(make: Make, fhir: Fhir, ids: Ids) -> None:
    sink, ref = make(), Ref("Organization", ids("a"))
    assert sink.history(ref, 3) == []
    fhir.put(org(ids("a"), name="A"), X_Request_Id="run-1")
    fhir.put(org(ids("a"), name="B"), X_Request_Id="run-2")
    fhir.http.delete(str(ref)).raise_for_status()
    fhir.put(org(ids("a"), name="C"), X_Request_Id="run-4")
    found = sink.history(ref, 3)
    assert [(v.version, v.run, v.deleted) for v in found] == [
        ("4", "run-4", False),
        ("3", None, True),
        ("2", "run-2", False),
    ]
    assert [bool(v.at) for v in found] == [True, False, True]


def test_the_versions_of_a_document_are_those_of_the_document(make: Make, fhir: Fhir, ids: Ids) -> None:
    """Where Bundles are asked for, HAPI applies `_elements` to the answer: a history of nothing."""
    told = document(ids("doc"), org("o", name="x"))
    fhir.put(told, X_Request_Id="run-1")
    fhir.put({**told, "timestamp": "2025-01-01T00:00:00Z"}, X_Request_Id="run-2")
    assert [(v.version, v.run) for v in make().history(Ref("Bundle", ids("doc")), 9)] == [
        ("2", "run-2"),
        ("1", "run-1"),
    ]
