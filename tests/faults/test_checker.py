"""The checker turns red: each kind of untruth, planted into what an undisturbed job leaves, is found and named."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.checker import Ended, Evidence, RowSeen, Verdict, Version, look
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.retire import retired
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Known, Ref, State

PRODUCT, LIST = Ref("MedicinalProductDefinition", "p"), Ref("List", "l")
GONE = Ref("List", "gone")


def body(ref: Ref, title: str) -> bytes:
    return dump({"resourceType": ref.type, "id": ref.id, "status": "current", "title": title})


OLD, NEW = (
    {PRODUCT: body(PRODUCT, "old"), LIST: body(LIST, "a list")},
    {PRODUCT: body(PRODUCT, "new"), LIST: body(LIST, "a list")},
)
LEFT = body(GONE, "of a product that is gone")
DONE = Ended("r2", 0, "done", 0)


def known(ref: Ref, version: str, what: bytes, state: State = State.LIVE) -> Known:
    return Known(ref, "cima", canonical_digest(what), version, None, 1, state)


def truth() -> Evidence:
    """Two nights of two products: one that changed, one that went."""
    return Evidence(
        editions={"1": [OLD, NEW], "2": [{GONE: LEFT}, {}]},
        unusable=frozenset(),
        held={
            PRODUCT: [Version(OLD[PRODUCT], "r1"), Version(NEW[PRODUCT], "r2")],
            LIST: [Version(OLD[LIST], "r1")],
            GONE: [Version(LEFT, "r1"), Version(retired(LEFT), "r2")],
        },
        feed=(RowSeen("f1", "1", 0), RowSeen("f2", "2", 0), RowSeen("f3", "1", 1), RowSeen("f4", "2", 1)),
        settled=frozenset({"f1", "f2", "f3", "f4"}),
        known={
            PRODUCT: known(PRODUCT, "2", NEW[PRODUCT]),
            LIST: known(LIST, "1", NEW[LIST]),
            GONE: known(GONE, "2", retired(LEFT), State.RETIRED),
        },
        versions={PRODUCT: "2", LIST: "1", GONE: "2"},
        runs=(Ended("r1", 0, "done", 0), DONE),
    )


def test_the_truth_is_good() -> None:
    assert look(truth()) == Verdict()
    assert str(look(truth())) == "good"


def held(e: Evidence, ref: Ref, *versions: Version) -> Evidence:
    return replace(e, held={**e.held, ref: versions})


def not_written(e: Evidence) -> Evidence:
    return held(e, PRODUCT, Version(OLD[PRODUCT], "r1"))


PLANTED: dict[str, tuple[str, str, Callable[[Evidence], Evidence]]] = {
    "the watermark moved before the write": (
        "lost",
        "counts as settled",
        lambda e: replace(not_written(e), runs=(*e.runs[:1], Ended("r2", -signal.SIGKILL, "lost", None))),
    ),
    "a refusal of the server was swallowed": ("false_green", "not what the source says", not_written),
    "an entry's status was ignored": (
        "false_green",
        "not there",
        lambda e: replace(e, held={ref: v for ref, v in e.held.items() if ref != LIST}),
    ),
    "a row that cannot be used was dropped": (
        "false_green",
        "cannot be used",
        lambda e: replace(e, unusable=frozenset({"1"})),
    ),
    "it was written twice": (
        "doubled",
        "wrote again",
        lambda e: held(e, LIST, Version(OLD[LIST], "r1"), Version(OLD[LIST], "r2")),
    ),
    "it was deleted twice": (
        "doubled",
        "wrote again",
        lambda e: held(e, GONE, Version(None, "r1"), Version(None, "r2")),
    ),
    "an older one was written over a newer one": (
        "untrue",
        "said before",
        lambda e: held(
            e, PRODUCT, Version(NEW[PRODUCT], "r1"), Version(OLD[PRODUCT], "r2"), Version(NEW[PRODUCT], "r2")
        ),
    ),
    "it was made up": (
        "untrue",
        "or never",
        lambda e: held(e, PRODUCT, Version(body(PRODUCT, "never"), "r1"), Version(NEW[PRODUCT], "r2")),
    ),
    "what is gone stayed": ("false_green", "as if the source had it", lambda e: held(e, GONE, Version(LEFT, "r1"))),
    "a run that was killed says it is done": (
        "false_green",
        "recorded as done",
        lambda e: replace(e, runs=(Ended("r1", -signal.SIGKILL, "done", None), DONE)),
    ),
    "the record says another code": (
        "false_green",
        "its record says 0",
        lambda e: replace(e, runs=(Ended("r1", 75, "failed", 0), DONE)),
    ),
    "another version is remembered": (
        "untrue",
        "is remembered as live in version 1",
        lambda e: replace(e, known={**e.known, PRODUCT: known(PRODUCT, "1", OLD[PRODUCT])}),
    ),
    "nothing is remembered of it": (
        "untrue",
        "nobody remembers it",
        lambda e: replace(e, known={ref: k for ref, k in e.known.items() if ref != LIST}),
    ),
    "it waits for what is there": (
        "untrue",
        "waits for what is there",
        lambda e: replace(e, waiting={LIST: frozenset({PRODUCT})}),
    ),
    "good rows lie in quarantine": (
        "untrue",
        "and is good",
        lambda e: replace(e, troubles=("1",), runs=(Ended("r", 65, "quarantined", 65),)),
    ),
    "one row lies there twice": (
        "untrue",
        "lies in quarantine 2 times",
        lambda e: replace(e, unusable=frozenset({"1"}), troubles=("1", "1"), runs=(Ended("r", 65, "quarantined", 65),)),
    ),
    "keys were left": ("untrue", "are left", lambda e: replace(e, left=3)),
    "a removal was forgotten": ("untrue", "still to go", lambda e: replace(e, pending=(GONE,))),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_untrue_is_found_and_named(name: str) -> None:
    kind, words, plant = PLANTED[name]
    verdict = look(plant(truth()))
    assert not verdict.good
    assert any(words in what for what in getattr(verdict, kind)), str(verdict)


def test_what_is_not_finished_is_not_called_lost() -> None:
    """A run that says "try again later" has promised nothing; what it settled must be there all the same."""
    unfinished = replace(not_written(truth()), settled=frozenset({"f1", "f2"}), runs=(Ended("r2", 75, "failed", 75),))
    assert look(unfinished).good


def test_what_was_spoilt_on_its_way_may_lie_in_quarantine_until_it_is_asked_for_again() -> None:
    disturbed = replace(not_written(truth()), troubles=("1",), runs=(Ended("r2", 65, "quarantined", 65),), calm=False)
    assert look(disturbed).good
    assert not look(replace(disturbed, calm=True)).good


def test_what_could_not_be_fetched_lies_beside_what_was_received_until_a_calm_night() -> None:
    runs = (Ended("r2", 65, "quarantined", 65),)
    disturbed = replace(
        truth(), unusable=frozenset({"1"}), troubles=("1", "1"), unfetched=("1",), runs=runs, calm=False
    )
    assert look(disturbed).good
    assert not look(replace(disturbed, troubles=("1", "1", "1"))).good
    assert not look(replace(disturbed, calm=True)).good


def test_what_the_feed_has_not_said_may_be_as_it_was_and_is_asked_for_again() -> None:
    behind = not_written(truth())
    assert look(replace(behind, settled=frozenset(), unsaid=frozenset({"1"}))).good
    assert not look(replace(behind, settled=frozenset())).good


def test_a_removal_that_a_person_was_told_of_is_kept_back_only_where_somebody_else_was_at_the_server() -> None:
    kept = replace(held(truth(), GONE, Version(LEFT, "r1")), troubles=[f"removal of {GONE}"], settled=frozenset())
    kept = replace(kept, known={**kept.known, GONE: known(GONE, "2", LEFT)})
    assert look(replace(kept, tampered=True)).good
    assert look(kept).false_green


@pytest.mark.parametrize(
    ("ended", "good"),
    [
        (Ended("r2", 0, "done", 0), True),
        (Ended("r2", 0, "partial", 0), True),
        (Ended("r2", 0, "lost", 0), False),
        (Ended("r2", 0, "running", None), False),
        (Ended("none", 0, None, None), False),
        (Ended("r2", 75, "lost", None), True),
        (Ended("r2", 75, "running", None), True),
        (Ended("r2", 75, "failed", 0), False),
        (Ended("none", 78, None, None), True),
        (Ended("r2", -9, "running", None), True),
    ],
)
def test_a_run_is_held_to_its_record(ended: Ended, good: bool) -> None:
    assert (not look(replace(truth(), runs=(ended,))).false_green) is good


def test_a_refused_change_lies_in_quarantine_once() -> None:
    refused = replace(
        truth(), refused=frozenset({"1"}), troubles=("1", "1"), runs=(Ended("r2", 65, "quarantined", 65),)
    )
    assert look(replace(refused, refusals=("a of 1", "b of 1"))).good
    assert not look(replace(refused, refusals=("a of 1", "a of 1"))).good


def test_what_is_remembered_and_nowhere_is_found() -> None:
    ghost = Ref("List", "ghost")
    haunted = replace(truth(), known={**truth().known, ghost: known(ghost, "1", LEFT)})
    assert look(haunted).untrue == ("List/ghost is remembered, and is nowhere",)
