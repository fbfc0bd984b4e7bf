"""What our sink makes of the real servers' answers to its writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from tests.servers.conversation import Fhir, Ids, observed
from tests.servers.sink_writes import Make, a_part_of, a_put, an_org, gone, held, permit, results, write
from tsi_fetch.clock import SystemClock
from tsi_fetch.errors import Guarded
from tsi_fetch.fhir.equality import same
from tsi_fetch.words import Held, Json, Mark, Ref, Result

pytestmark = pytest.mark.servers


def test_version_nought_creates_only(sink: FhirServer, ids: Ids) -> None:
    [created] = write(sink, an_org(ids("a"), name="A"))
    assert (created.result, created.version) == (Result.CREATED, "1")
    [stale] = write(sink, an_org(ids("a"), name="A"))
    assert stale.result is Result.STALE
    assert stale.held is not None
    assert (stale.held.version, stale.held.run) == ("1", "run-1")


def test_what_the_server_had_lost_is_created_whatever_version_is_believed(sink: FhirServer, ids: Ids) -> None:
    [outcome] = write(sink, an_org(ids("a"), "3"))
    assert (outcome.result, outcome.version) == (Result.CREATED, "1")


def test_a_marker_that_the_server_had_lost_is_guarded_and_not_left_anew(sink: FhirServer, ids: Ids) -> None:
    name = ids("marker")
    with pytest.raises(Guarded, match="has lost the marker"):
        sink.move_mark(name, Mark("run-1", 4, "3"), permit)
    assert sink.read_mark(name) is None


def test_a_path_with_a_filter_is_told_whole(sink: FhirServer, ids: Ids) -> None:
    refers = observed(ids("a"), subject={"reference": f"Patient/{ids('nobody')}"})
    [outcome] = write(sink, a_put(refers))
    assert outcome.fault is not None
    assert outcome.fault.path in ("Observation.subject", "Observation.subject.where(resolve() is Patient)")


def test_identical_content_makes_no_version(sink: FhirServer, ids: Ids) -> None:
    write(sink, an_org(ids("a"), name="A"))
    [again] = write(sink, an_org(ids("a"), "1", name="A"))
    assert (again.result, again.version) == (Result.UNCHANGED, "1")


def test_a_stale_version_is_refused_and_the_rest_of_the_bundle_is_written(sink: FhirServer, ids: Ids) -> None:
    write(sink, an_org(ids("a"), name="A"), an_org(ids("b"), name="B"))
    write(sink, an_org(ids("b"), "1", name="B2"))
    outcomes = write(sink, an_org(ids("a"), "1", name="A2"), an_org(ids("b"), "1", name="B3"), an_org(ids("c")))
    assert results(outcomes) == [Result.UPDATED, Result.STALE, Result.CREATED]
    stale = outcomes[1].held
    assert stale is not None
    assert stale.version == "2"
    assert same(an_org(ids("b"), name="B2").body or b"", stale.body or b"")


def test_a_lost_answer_is_recognised_by_its_content_and_run(fhir: Fhir, ids: Ids) -> None:
    class Loses(httpx.HTTPTransport):
        lost = False

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.method == "POST" and not self.lost:
                self.lost = True
                response.read()
                raise httpx.ReadTimeout("lost", request=request)
            return response

    sent = an_org(ids("a"), name="A")
    with FhirServer(
        FhirOptions(url=fhir.url, release=fhir.release),
        SystemClock(),
        "run-lost",
        "cima",
        "ab12cd34",
        transport=Loses(),
    ) as sink:
        [outcome] = write(sink, sent)
    assert outcome.result is Result.STALE
    assert outcome.held is not None
    assert (outcome.held.version, outcome.held.run) == ("1", "run-lost")
    assert same(sent.body or b"", outcome.held.body or b"")


def test_the_culprit_is_found_and_all_others_arrive(sink: FhirServer, ids: Ids) -> None:
    writes = [an_org(ids(f"o{n}"), active="dunno" if n == 157 else True) for n in range(300)]
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
def test_a_deterministic_500_blames_the_one_it_belongs_to(sink: FhirServer, ids: Ids, members: Json) -> None:
    outcomes = write(sink, an_org(ids("a")), an_org(ids("b"), **members), an_org(ids("c")))
    assert results(outcomes) == [Result.CREATED, Result.REFUSED, Result.CREATED]
    fault = outcomes[1].fault
    assert fault is not None
    assert fault.code.startswith("hapi-")
    assert "Jane" not in fault.rule


def test_what_refers_to_a_missing_or_deleted_target_is_told_which(sink: FhirServer, ids: Ids) -> None:
    dead = an_org(ids("dead"))
    write(sink, dead)
    write(sink, gone(dead, "1"))
    waits, mourns, free = write(
        sink, a_part_of(ids("a"), ids("missing")), a_part_of(ids("b"), ids("dead")), an_org(ids("c"))
    )
    assert results([waits, mourns, free]) == [Result.MISSING, Result.MISSING, Result.CREATED]
    assert waits.missing == (Ref("Organization", ids("missing")),)
    assert mourns.missing == (dead.ref,)


def test_a_resource_with_two_missing_targets_is_told_at_least_one(sink: FhirServer, ids: Ids) -> None:
    endpoints = [{"reference": f"Endpoint/{ids(n)}"} for n in "xy"]
    [outcome] = write(sink, an_org(ids("a"), partOf={"reference": f"Organization/{ids('z')}"}, endpoint=endpoints))
    assert outcome.result is Result.MISSING
    targets = {Ref("Endpoint", ids("x")), Ref("Endpoint", ids("y")), Ref("Organization", ids("z"))}
    assert outcome.missing
    assert set(outcome.missing) <= targets


def test_forward_references_and_circles_arrive(make: Make, ids: Ids) -> None:
    small = make(entries=2)
    writes = [a_part_of(ids("a"), ids("b")), a_part_of(ids("b"), ids("c")), a_part_of(ids("c"), ids("a"))]
    writes += [a_part_of(ids("d"), ids("e")), an_org(ids("e"))]
    assert set(results(write(small, *writes))) == {Result.CREATED}


def test_a_resource_that_refers_to_itself_is_created(sink: FhirServer, ids: Ids) -> None:
    assert results(write(sink, a_part_of(ids("a"), ids("a")))) == [Result.CREATED]


def test_deletion_and_return_count_on(sink: FhirServer, ids: Ids) -> None:
    one = an_org(ids("a"), name="A")
    write(sink, one)
    [deleted] = write(sink, gone(one, "1"))
    assert (deleted.result, deleted.version) == (Result.DELETED, "2")
    assert sink.find([one.ref]) == {}
    [stale] = write(sink, one)
    assert stale.held == Held(one.ref, "2", deleted=True)
    [back] = write(sink, an_org(ids("a"), "2", name="A"))
    assert (back.result, back.version) == (Result.CREATED, "3")


def test_deleting_twice_or_what_never_was_is_done(sink: FhirServer, ids: Ids) -> None:
    one, never = an_org(ids("a")), an_org(ids("never"))
    write(sink, one)
    assert write(sink, gone(one, "1"))[0].version == "2"
    again, nothing = write(sink, gone(one, "1"), gone(never, "1"))
    assert (again.result, again.version) == (Result.DELETED, "2")
    assert (nothing.result, nothing.version) == (Result.DELETED, None)


def test_what_others_refer_to_is_kept_and_goes_with_its_referrer(make: Make, ids: Ids) -> None:
    sink = make(entries=1)
    whole, part, free = an_org(ids("whole")), a_part_of(ids("part"), ids("whole")), an_org(ids("free"))
    write(sink, whole, part, free)
    outcomes = write(sink, gone(whole, "1"), gone(free, "1"))
    assert results(outcomes) == [Result.REFERRED, Result.DELETED]
    assert outcomes[0].fault is not None
    assert str(part.ref) in outcomes[0].fault.rule
    assert results(write(sink, gone(whole, "1"), gone(part, "1"))) == [Result.DELETED, Result.DELETED]


def test_a_deletion_leaves_what_somebody_changed(sink: FhirServer, ids: Ids) -> None:
    one = an_org(ids("a"), name="A")
    write(sink, one)
    write(sink, an_org(ids("a"), "1", name="B"))
    assert results(write(sink, gone(one, "1"))) == [Result.STALE]
    assert held(sink, one).version == "2"


def test_two_sinks_at_once_end_in_one_version_each_and_no_error(make: Make, ids: Ids) -> None:
    writes = [an_org(ids(f"o{n}"), name="A") for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(write, make(f"run-{n}"), *(writes if n % 2 else writes[::-1])) for n in range(4)]
    by_run = [results(run.result()) for run in runs]
    assert set().union(*by_run) <= {Result.CREATED, Result.STALE}
    created = sum(r.count(Result.CREATED) for r in by_run)
    assert created == 40
    assert {h.version for h in make().find([w.ref for w in writes]).values()} == {"1"}
