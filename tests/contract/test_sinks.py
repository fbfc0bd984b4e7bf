"""What every sink promises.  A new one joins by being listed in SINKS."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from sinks.folder import Folder, FolderOptions
from tests.sinks.fake_hapi import BASE, FakeHapi
from tsi_fetch.clock import ReplayClock
from tsi_fetch.errors import Guarded, TryAgain
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.ports import Sink
from tsi_fetch.words import Json, Mark, Outcome, Ref, Result, Write, WriteAction

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ONE = Ref("Organization", "one")
TWO = Ref("Organization", "two")
MARK = "tsi-fetch-ab12cd34-cima"


def folder(path: Path) -> Sink:
    return Folder(FolderOptions(path=path / "out"), ReplayClock(NOW))


def fhir(path: Path) -> Sink:
    return FhirServer(
        FhirOptions(url=BASE), ReplayClock(NOW), "run-1", "cima", "ab12cd34", transport=FakeHapi().transport()
    )


SINKS: dict[str, Callable[[Path], Sink]] = {"folder": folder, "fhir": fhir}


@pytest.fixture(params=sorted(SINKS))
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Sink:
    made = SINKS[request.param](tmp_path)
    made.open()
    return made


def permit() -> None:
    """Always."""


def body(ref: Ref, **members: Json) -> bytes:
    return dump({"resourceType": ref.type, "id": ref.id, **members})


def put(sink: Sink, ref: Ref, version: str | None, **members: Json) -> Outcome:
    return one(sink, Write(ref, WriteAction.PUT, version, body(ref, **members)))


def delete(sink: Sink, ref: Ref, version: str | None) -> Outcome:
    return one(sink, Write(ref, WriteAction.DELETE, version))


def one(sink: Sink, write: Write) -> Outcome:
    [outcome] = [o for some in sink.write([write], permit) for o in some]
    assert outcome.ref == write.ref
    return outcome


def test_a_new_resource_is_created_and_found_with_the_acknowledged_version(sink: Sink) -> None:
    outcome = put(sink, ONE, None, name="A")
    assert outcome.result is Result.CREATED
    held = sink.find([ONE, TWO], bodies=True)
    assert set(held) == {ONE}
    assert held[ONE].version == outcome.version
    assert same(body(ONE, name="A"), held[ONE].body or b"")


def test_versions_alone_come_without_bodies(sink: Sink) -> None:
    outcome = put(sink, ONE, None, name="A")
    held = sink.find([ONE])[ONE]
    assert (held.version, held.body) == (outcome.version, None)


def test_an_update_gives_another_version(sink: Sink) -> None:
    first = put(sink, ONE, None, name="A")
    second = put(sink, ONE, first.version, name="B")
    assert second.result is Result.UPDATED
    assert second.version not in (None, first.version)


def test_the_same_content_again_is_unchanged_and_keeps_its_version(sink: Sink) -> None:
    first = put(sink, ONE, None, name="A")
    second = put(sink, ONE, first.version, name="A")
    assert (second.result, second.version) == (Result.UNCHANGED, first.version)


def test_a_believed_version_that_is_not_the_held_one_is_stale_and_read(sink: Sink) -> None:
    first = put(sink, ONE, None, name="A")
    second = put(sink, ONE, first.version, name="B")
    stale = put(sink, ONE, first.version, name="C")
    assert stale.result is Result.STALE
    assert stale.held is not None
    assert stale.held.version == second.version
    assert same(body(ONE, name="B"), stale.held.body or b"")


def test_creating_what_is_there_is_stale_even_with_equal_content(sink: Sink) -> None:
    first = put(sink, ONE, None, name="A")
    stale = put(sink, ONE, None, name="A")
    assert stale.result is Result.STALE
    assert stale.held is not None
    assert stale.held.version == first.version


def test_updating_what_never_was_is_stale_or_said_to_be_a_creation(sink: Sink) -> None:
    """HAPI creates it, whatever version the request carries (docs/hapi.md)."""
    outcome = put(sink, ONE, "7", name="A")
    there = sink.find([ONE])
    if outcome.result is Result.CREATED:
        assert there[ONE].version == outcome.version != "7"
    else:
        assert (outcome.result, outcome.held, there) == (Result.STALE, None, {})


def test_a_deletion_takes_it_away(sink: Sink) -> None:
    first = put(sink, ONE, None, name="A")
    assert delete(sink, ONE, first.version).result is Result.DELETED
    assert ONE not in sink.find([ONE])


def test_a_deletion_of_another_version_than_believed_is_stale_and_deletes_nothing(sink: Sink) -> None:
    first = put(sink, ONE, None, name="A")
    second = put(sink, ONE, first.version, name="B")
    stale = delete(sink, ONE, first.version)
    assert stale.result is Result.STALE
    assert stale.held is not None
    assert stale.held.version == second.version
    assert ONE in sink.find([ONE])


def test_deleting_what_is_gone_already_is_done(sink: Sink) -> None:
    first = put(sink, ONE, None, name="A")
    delete(sink, ONE, first.version)
    assert delete(sink, ONE, first.version).result is Result.DELETED
    assert delete(sink, TWO, "1").result is Result.DELETED


def test_a_deleted_resource_returns_with_the_version_of_its_tombstone(sink: Sink) -> None:
    first = put(sink, ONE, None, name="A")
    tombstone = delete(sink, ONE, first.version)
    assert put(sink, ONE, tombstone.version, name="B").result is Result.CREATED
    assert ONE in sink.find([ONE])


def test_every_write_has_one_outcome(sink: Sink) -> None:
    refs = [Ref("Organization", f"o-{n}") for n in range(250)]
    outcomes = [
        o for some in sink.write([Write(r, WriteAction.PUT, None, body(r)) for r in refs], permit) for o in some
    ]
    assert sorted(o.ref for o in outcomes) == sorted(refs)
    assert {o.result for o in outcomes} == {Result.CREATED}
    assert len(sink.find(refs)) == 250


def test_everything_alive_of_a_type_is_listed_without_bodies(sink: Sink) -> None:
    gone = put(sink, ONE, None, name="A")
    kept = put(sink, TWO, None, name="B")
    put(sink, Ref("Ingredient", "i"), None)
    delete(sink, ONE, gone.version)
    held = [h for page in sink.listing("Organization") for h in page]
    assert [(h.ref, h.version, h.body) for h in held] == [(TWO, kept.version, None)]
    assert [h for page in sink.listing("Substance") for h in page] == []


def test_opening_again_with_the_types_that_are_written_is_fine(sink: Sink) -> None:
    sink.open(["Organization", "Ingredient"])
    assert list(sink.write([], permit)) == []


def test_number_tokens_and_unknown_members_arrive_as_they_are(sink: Sink) -> None:
    ref = Ref("Ingredient", "one")
    sent = b'{"resourceType":"Ingredient","id":"one","strength":1.00,"_own":[{"b":2,"a":1}]}'
    one(sink, Write(ref, WriteAction.PUT, None, sent))
    held = sink.find([ref], bodies=True)[ref].body or b""
    assert b'"_own"' in held
    assert b"2" in held


@pytest.mark.parametrize("ident", ["..", "../escaped", "a/b", "", "a" * 65, "a b", "ä"])
def test_an_id_that_is_none_is_refused_and_escapes_nothing(sink: Sink, ident: str, tmp_path: Path) -> None:
    ref = Ref("Organization", ident)
    outcome = put(sink, ref, None, name="A")
    assert outcome.result is Result.REFUSED
    assert sink.find([ref], bodies=True) == {}
    assert not list(tmp_path.rglob("*.json"))


def test_a_body_that_is_not_json_is_refused_and_the_others_arrive(sink: Sink) -> None:
    writes = [Write(ONE, WriteAction.PUT, None, b'{"resourceType":'), Write(TWO, WriteAction.PUT, None, body(TWO))]
    outcomes = {o.ref: o for some in sink.write(writes, permit) for o in some}
    assert outcomes[ONE].result is Result.REFUSED
    assert outcomes[ONE].fault is not None
    assert outcomes[TWO].result is Result.CREATED


def test_nothing_is_sent_without_a_permit(sink: Sink) -> None:
    def denied() -> None:
        raise TryAgain("the lease is gone")

    with pytest.raises(TryAgain, match="the lease is gone"):
        list(sink.write([Write(ONE, WriteAction.PUT, None, body(ONE))], denied))
    assert sink.find([ONE]) == {}


def test_there_is_no_marker_before_the_first_move(sink: Sink) -> None:
    assert sink.read_mark(MARK) is None


def test_a_marker_is_read_as_it_was_moved(sink: Sink) -> None:
    moved = sink.move_mark(MARK, Mark("run-1", 1), permit)
    assert (moved.run, moved.counter) == ("run-1", 1)
    assert sink.read_mark(MARK) == moved


def test_a_marker_moves_on_from_the_version_it_has(sink: Sink) -> None:
    first = sink.move_mark(MARK, Mark("run-1", 1), permit)
    second = sink.move_mark(MARK, Mark("run-2", 2, first.version), permit)
    assert sink.read_mark(MARK) == second


def test_a_marker_is_not_moved_past_another_one(sink: Sink) -> None:
    sink.move_mark(MARK, Mark("run-1", 1), permit)
    with pytest.raises(Guarded):
        sink.move_mark(MARK, Mark("run-2", 1), permit)
    with pytest.raises(Guarded):
        sink.move_mark(MARK, Mark("run-2", 2, "99"), permit)


def test_a_marker_that_is_lost_is_not_replaced(sink: Sink) -> None:
    with pytest.raises(Guarded):
        sink.move_mark(MARK, Mark("run-2", 2, "1"), permit)


def test_jobs_have_markers_of_their_own(sink: Sink) -> None:
    first = sink.move_mark(MARK, Mark("run-1", 1), permit)
    other = sink.move_mark("tsi-fetch-ab12cd34-other", Mark("run-9", 1), permit)
    assert sink.read_mark(MARK) == first
    assert sink.read_mark("tsi-fetch-ab12cd34-other") == other
