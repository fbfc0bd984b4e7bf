"""What the FHIR sink leans on, tried on the real server through the sink.  Every test has ids of its own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from tsi_fetch.clock import SystemClock
from tsi_fetch.errors import Guarded, SettingError
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Held, Json, Mark, Outcome, Ref, Result, Write, WriteAction

pytestmark = pytest.mark.servers

Make = Callable[..., FhirServer]
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">a&#160;b<img src="x" alt=""/></div>'


def permit() -> None:
    """Always."""


@pytest.fixture
def make(hapi: str) -> Iterator[Make]:
    made: list[FhirServer] = []

    def connect(run: str = "run-1", **options: Any) -> FhirServer:
        made.append(FhirServer(FhirOptions(url=hapi, **options), SystemClock(), run, "cima", "ab12cd34"))
        return made[-1]

    yield connect
    for sink in made:
        sink.close()


@pytest.fixture
def sink(make: Make) -> FhirServer:
    return make()


@pytest.fixture
def own() -> Callable[[str], str]:
    """Ids of this test: `own("a")`."""
    prefix = uuid.uuid4().hex[:8]
    return lambda name: f"t{prefix}-{name}"


Own = Callable[[str], str]


def org(ident: str, version: str | None = None, **members: Json) -> Write:
    body = dump({"resourceType": "Organization", "id": ident, **members})
    return Write(Ref("Organization", ident), WriteAction.PUT, version, body)


def part_of(ident: str, whole: str, version: str | None = None) -> Write:
    return org(ident, version, partOf={"reference": f"Organization/{whole}"})


def gone(write: Write, version: str | None) -> Write:
    return Write(write.ref, WriteAction.DELETE, version)


def write(sink: FhirServer, *writes: Write) -> list[Outcome]:
    """The outcomes, in the order of the writes."""
    outcomes = {o.ref: o for some in sink.write(writes, permit) for o in some}
    return [outcomes[w.ref] for w in writes]


def results(outcomes: list[Outcome]) -> list[Result]:
    return [o.result for o in outcomes]


def held(sink: FhirServer, write: Write) -> Held:
    return sink.find([write.ref], bodies=True)[write.ref]


def test_the_server_is_the_one_the_job_means(make: Make) -> None:
    make().open()
    with pytest.raises(SettingError, match="R4"):
        make(release="R4").open()


@pytest.mark.parametrize("path", ["/", "/fhir/nowhere", "/../nowhere"])
def test_a_wrong_base_is_a_wrong_setting(hapi: str, path: str) -> None:
    with (
        FhirServer(
            FhirOptions(url=hapi.removesuffix("/fhir") + path), SystemClock(), "run-1", "cima", "ab12cd34"
        ) as sink,
        pytest.raises(SettingError),
    ):
        sink.open()


def test_version_nought_creates_only(sink: FhirServer, own: Own) -> None:
    [created] = write(sink, org(own("a"), name="A"))
    assert (created.result, created.version) == (Result.CREATED, "1")
    [stale] = write(sink, org(own("a"), name="A"))
    assert stale.result is Result.STALE
    assert stale.held is not None
    assert (stale.held.version, stale.held.run) == ("1", "run-1")


def test_identical_content_makes_no_version(sink: FhirServer, own: Own) -> None:
    write(sink, org(own("a"), name="A"))
    [again] = write(sink, org(own("a"), "1", name="A"))
    assert (again.result, again.version) == (Result.UNCHANGED, "1")


def test_a_stale_version_is_refused_and_the_rest_of_the_bundle_is_written(sink: FhirServer, own: Own) -> None:
    write(sink, org(own("a"), name="A"), org(own("b"), name="B"))
    write(sink, org(own("b"), "1", name="B2"))
    outcomes = write(sink, org(own("a"), "1", name="A2"), org(own("b"), "1", name="B3"), org(own("c")))
    assert results(outcomes) == [Result.UPDATED, Result.STALE, Result.CREATED]
    stale = outcomes[1].held
    assert stale is not None
    assert stale.version == "2"
    assert same(org(own("b"), name="B2").body or b"", stale.body or b"")


def test_a_lost_answer_is_recognised_by_its_content_and_run(hapi: str, own: Own) -> None:
    class Loses(httpx.HTTPTransport):
        lost = False

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.method == "POST" and not self.lost:
                self.lost = True
                response.read()
                raise httpx.ReadTimeout("lost", request=request)
            return response

    sent = org(own("a"), name="A")
    with FhirServer(FhirOptions(url=hapi), SystemClock(), "run-lost", "cima", "ab12cd34", transport=Loses()) as sink:
        [outcome] = write(sink, sent)
    assert outcome.result is Result.STALE
    assert outcome.held is not None
    assert (outcome.held.version, outcome.held.run) == ("1", "run-lost")
    assert same(sent.body or b"", outcome.held.body or b"")


def test_the_culprit_is_found_and_all_others_arrive(sink: FhirServer, own: Own) -> None:
    writes = [org(own(f"o{n}"), active="dunno" if n == 157 else True) for n in range(300)]
    outcomes = write(sink, *writes)
    assert [n for n, o in enumerate(outcomes) if o.result is not Result.CREATED] == [157]
    fault = outcomes[157].fault
    assert fault is not None
    assert (fault.code, fault.path) == ("hapi-0450", "active")
    assert "dunno" not in fault.rule
    assert len(sink.find([w.ref for w in writes])) == 299


@pytest.mark.parametrize(
    "members",
    [
        {"name": "Jane Roe\0"},
        {"meta": {"tag": [{"code": "x" * 300}]}},
        {"meta": {"profile": ["http://x/" + "x" * 300]}},
    ],
    ids=["NUL", "long tag", "long profile"],
)
def test_a_deterministic_500_blames_the_one_it_belongs_to(sink: FhirServer, own: Own, members: Json) -> None:
    outcomes = write(sink, org(own("a")), org(own("b"), **members), org(own("c")))
    assert results(outcomes) == [Result.CREATED, Result.REFUSED, Result.CREATED]
    fault = outcomes[1].fault
    assert fault is not None
    assert fault.code.startswith("hapi-")
    assert "Jane" not in fault.rule


def test_a_missing_and_a_deleted_target_are_refused_with_the_path(sink: FhirServer, own: Own) -> None:
    dead = org(own("dead"))
    write(sink, dead)
    write(sink, gone(dead, "1"))
    outcomes = write(sink, part_of(own("a"), own("missing")), part_of(own("b"), own("dead")))
    faults = [(o.fault.code, o.fault.path) for o in outcomes if o.fault]
    assert faults == [("hapi-1094", "Organization.partOf"), ("hapi-1096", "Organization.partOf")]


def test_forward_references_and_circles_arrive(make: Make, own: Own) -> None:
    small = make(entries=2)
    writes = [part_of(own("a"), own("b")), part_of(own("b"), own("c")), part_of(own("c"), own("a"))]
    writes += [part_of(own("d"), own("e")), org(own("e"))]
    assert set(results(write(small, *writes))) == {Result.CREATED}


def test_a_resource_that_refers_to_itself_is_created(sink: FhirServer, own: Own) -> None:
    assert results(write(sink, part_of(own("a"), own("a")))) == [Result.CREATED]


def test_deletion_and_return_count_on(sink: FhirServer, own: Own) -> None:
    one = org(own("a"), name="A")
    write(sink, one)
    [deleted] = write(sink, gone(one, "1"))
    assert (deleted.result, deleted.version) == (Result.DELETED, "2")
    assert sink.find([one.ref]) == {}
    [stale] = write(sink, one)
    assert stale.held == Held(one.ref, "2", deleted=True)
    [back] = write(sink, org(own("a"), "2", name="A"))
    assert (back.result, back.version) == (Result.CREATED, "3")


def test_deleting_twice_or_what_never_was_is_done(sink: FhirServer, own: Own) -> None:
    one, never = org(own("a")), org(own("never"))
    write(sink, one)
    assert write(sink, gone(one, "1"))[0].version == "2"
    again, nothing = write(sink, gone(one, "1"), gone(never, "1"))
    assert (again.result, again.version) == (Result.DELETED, "2")
    assert (nothing.result, nothing.version) == (Result.DELETED, None)


def test_what_others_refer_to_is_kept_and_goes_with_its_referrer(make: Make, own: Own) -> None:
    sink = make(entries=1)
    whole, part, free = org(own("whole")), part_of(own("part"), own("whole")), org(own("free"))
    write(sink, whole, part, free)
    outcomes = write(sink, gone(whole, "1"), gone(free, "1"))
    assert results(outcomes) == [Result.REFERRED, Result.DELETED]
    assert outcomes[0].fault is not None
    assert str(part.ref) in outcomes[0].fault.rule
    assert results(write(sink, gone(whole, "1"), gone(part, "1"))) == [Result.DELETED, Result.DELETED]


def test_a_deletion_leaves_what_somebody_changed(sink: FhirServer, own: Own) -> None:
    one = org(own("a"), name="A")
    write(sink, one)
    write(sink, org(own("a"), "1", name="B"))
    assert results(write(sink, gone(one, "1"))) == [Result.STALE]
    assert held(sink, one).version == "2"


def test_the_precision_of_a_decimal_is_kept(sink: FhirServer, own: Own) -> None:
    ref = Ref("Observation", own("a"))
    body = (
        b'{"resourceType":"Observation","id":"%b","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.00}}'
        % ref.id.encode()
    )
    written = Write(ref, WriteAction.PUT, None, body)
    assert results(write(sink, written)) == [Result.CREATED]
    read = held(sink, written).body or b""
    assert b'"value":1.00' in read
    assert same(body, read)
    other = Write(ref, WriteAction.PUT, "1", body.replace(b"1.00", b"1.0"))
    assert results(write(sink, other)) == [Result.UPDATED]


def test_tags_become_exactly_what_was_sent(sink: FhirServer, own: Own) -> None:
    def tagged(version: str | None, *codes: str) -> Write:
        return org(own("a"), version, meta={"tag": [{"system": "http://t.invalid", "code": c} for c in codes]})

    write(sink, tagged(None, "x", "y"))
    [removed] = write(sink, tagged("1", "y"))
    assert removed.result is Result.UPDATED
    tags = json.loads(held(sink, tagged(None)).body or b"")["meta"]["tag"]
    assert [t["code"] for t in tags] == ["y"]


def test_a_narrative_that_the_server_adds_is_not_a_difference(sink: FhirServer, own: Own) -> None:
    sent = org(own("a"), name="A")
    write(sink, sent)
    read = held(sink, sent).body or b""
    assert same(sent.body or b"", read)


def test_a_document_bundle_is_stored_whole_and_its_references_are_not_resolved(sink: FhirServer, own: Own) -> None:
    ref = Ref("Bundle", own("doc"))
    composition = {
        "resourceType": "Composition",
        "id": "inner",
        "status": "final",
        "type": {"text": "leaflet"},
        "date": "2026-01-01",
        "title": "Leaflet",
        "author": [{"reference": "Organization/nowhere"}],
        "section": [{"title": "1", "text": {"status": "additional", "div": DIV}}],
    }
    body = dump(
        {
            "resourceType": "Bundle",
            "id": ref.id,
            "type": "document",
            "identifier": {"system": "http://t.invalid", "value": ref.id},
            "timestamp": "2026-01-01T00:00:00Z",
            "entry": [{"fullUrl": "http://t.invalid/Composition/inner", "resource": composition}],
        }
    )
    written = Write(ref, WriteAction.PUT, None, body)
    assert results(write(sink, written)) == [Result.CREATED]
    assert same(body, held(sink, written).body or b"")


def test_a_thousand_versions_are_read_in_bulk(sink: FhirServer, own: Own) -> None:
    writes = [org(own(f"o{n}")) for n in range(1000)]
    assert set(results(write(sink, *writes))) == {Result.CREATED}
    found = sink.find([w.ref for w in writes])
    assert len(found) == 1000
    assert {h.version for h in found.values()} == {"1"}


def test_bundles_are_found_by_their_versions_too(sink: FhirServer, own: Own) -> None:
    ref = Ref("Bundle", own("doc"))
    composition = {"resourceType": "Composition", "id": "c", "status": "final", "type": {"text": "t"}, "title": "t"}
    body = {"resourceType": "Bundle", "id": ref.id, "type": "document", "entry": [{"resource": composition}]}
    write(sink, Write(ref, WriteAction.PUT, None, dump(body)))
    assert sink.find([ref, Ref("Bundle", own("none"))])[ref].version == "1"


def test_what_was_just_written_is_found_although_the_same_search_was_just_made(sink: FhirServer, own: Own) -> None:
    one = org(own("a"), name="A")
    assert sink.find([one.ref]) == {}
    write(sink, one)
    assert sink.find([one.ref])[one.ref].version == "1"


def test_an_unknown_type_is_not_found_and_refused(sink: FhirServer, own: Own) -> None:
    ref = Ref("Nonsense", own("a"))
    assert sink.find([ref]) == {}
    [outcome] = write(sink, Write(ref, WriteAction.PUT, None, dump({"resourceType": "Nonsense", "id": ref.id})))
    assert outcome.result is Result.REFUSED


def test_two_sinks_at_once_end_in_one_version_each_and_no_error(make: Make, own: Own) -> None:
    writes = [org(own(f"o{n}"), name="A") for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(write, make(f"run-{n}"), *(writes if n % 2 else writes[::-1])) for n in range(4)]
    by_run = [results(run.result()) for run in runs]
    assert set().union(*by_run) <= {Result.CREATED, Result.STALE}
    created = sum(r.count(Result.CREATED) for r in by_run)
    assert created == 40
    assert {h.version for h in make().find([w.ref for w in writes]).values()} == {"1"}


def test_the_marker_moves_guarded(make: Make, own: Own) -> None:
    name = f"tsi-fetch-{own('cima')}"
    sink = make()
    assert sink.read_mark(name) is None
    first = sink.move_mark(name, Mark("run-1", 1), permit)
    second = sink.move_mark(name, Mark("run-1", 2, first.version), permit)
    assert sink.read_mark(name) == second
    with pytest.raises(Guarded):
        sink.move_mark(name, Mark("run-2", 3, first.version), permit)


def test_the_server_keeps_a_run_id_of_sixteen_characters(make: Make, own: Own) -> None:
    run = "20261121T0900-ab"
    sink = make(run)
    one = org(own("a"))
    write(sink, one)
    assert held(sink, one).run == run
