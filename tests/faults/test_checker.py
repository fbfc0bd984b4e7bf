"""The checker turns red: each kind of untruth, planted into what an undisturbed job leaves, is found and named."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from tests.faults.bodies import identical, is_retired, retires
from tests.faults.checker import Ended, Evidence, Facts, RowSeen, Verdict, Version, Written, look, look_meanwhile
from tests.faults.life import Held, Life
from tests.faults.processes import lost_its_lease
from tests.faults.records import as_it_ended
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.retire import retired
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import AWAITED, DOUBTED, FORGOTTEN, Known, Ref, State

PRODUCT, LIST = Ref("MedicinalProductDefinition", "p"), Ref("List", "l")
GONE = Ref("List", "gone")


def body(ref: Ref, title: str) -> bytes:
    return dump({"resourceType": ref.type, "id": ref.id, "status": "current", "title": title})


OLD, NEW = (
    {PRODUCT: body(PRODUCT, "old"), LIST: body(LIST, "a list")},
    {PRODUCT: body(PRODUCT, "new"), LIST: body(LIST, "a list")},
)
LEFT = body(GONE, "of a product that is gone")
FIRST, DONE = Ended("r1", 0, "done", 0), Ended("r2", 0, "done", 0)


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
        runs=(FIRST, Ended("r1", 0, "done", 0), DONE),
    )


def test_the_truth_is_good() -> None:
    assert look(truth()) == Verdict()
    assert str(look(truth())) == "good"


def held(e: Evidence, ref: Ref, *versions: Version) -> Evidence:
    """These are there, and the last is remembered."""
    last, number = versions[-1].body, str(len(versions))
    state = State.DELETED if last is None else State.RETIRED if is_retired(last) else State.LIVE
    remembered = {**e.known, ref: known(ref, number, last or LEFT, state)}
    return replace(e, held={**e.held, ref: versions}, known=remembered, versions={**e.versions, ref: number})


def not_written(e: Evidence) -> Evidence:
    return held(e, PRODUCT, Version(OLD[PRODUCT], "r1"))


PLANTED: dict[str, tuple[str, str, Callable[[Evidence], Evidence]]] = {
    "the watermark moved before the write": (
        "lost",
        "counts as settled",
        lambda e: replace(not_written(e), runs=(FIRST, Ended("r2", -signal.SIGKILL, "lost", None))),
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
        lambda e: replace(
            e,
            troubles=("1",),
            runs=(
                FIRST,
                Ended("r2", 65, "quarantined", 65),
            ),
        ),
    ),
    "one row lies there twice": (
        "untrue",
        "lies in quarantine 2 times",
        lambda e: replace(
            e,
            unusable=frozenset({"1"}),
            troubles=("1", "1"),
            runs=(
                FIRST,
                Ended("r2", 65, "quarantined", 65),
            ),
        ),
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
    unfinished = replace(
        not_written(truth()),
        settled=frozenset({"f1", "f2"}),
        runs=(
            FIRST,
            Ended("r2", 75, "failed", 75),
        ),
    )
    assert look(unfinished).good


def test_what_was_refused_stays_beside_what_could_not_be_fetched_since() -> None:
    refused = ("a of 1", "b of 1")
    beside = replace(
        truth(), troubles=("1", "1", "1"), refusals=refused, unfetched=("1",),
        runs=(FIRST, Ended("r2", 65, "quarantined", 65)), calm=False,
    )  # fmt: skip
    assert look(beside).good
    assert not look(replace(beside, unfetched=())).good
    assert not look(replace(beside, troubles=("1",) * 5)).good
    assert not look(replace(beside, calm=True)).good


def test_what_was_spoilt_on_its_way_may_lie_in_quarantine_until_it_is_asked_for_again() -> None:
    disturbed = replace(
        not_written(truth()),
        troubles=("1",),
        runs=(
            FIRST,
            Ended("r2", 65, "quarantined", 65),
        ),
        calm=False,
    )
    assert look(disturbed).good
    assert not look(replace(disturbed, calm=True)).good


def test_what_could_not_be_fetched_lies_beside_what_was_received_until_a_calm_night() -> None:
    runs = (
        FIRST,
        Ended("r2", 65, "quarantined", 65),
    )
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
        (Ended("r2", 75, "lost", None), False),
        (Ended("r2", 75, "lost", None, excused=True), True),
        (Ended("r2", 75, "running", None), False),
        (Ended("r2", 75, "running", None, excused=True), True),
        (Ended("r2", 75, "failed", 0), False),
        (Ended("none", 78, None, None), True),
        (Ended("r2", -9, "running", None), True),
    ],
)
def test_a_run_is_held_to_its_record(ended: Ended, good: bool) -> None:
    assert (not look(replace(truth(), runs=(FIRST, ended))).false_green) is good


def test_a_refused_change_lies_in_quarantine_once() -> None:
    refused = replace(
        truth(),
        refused=frozenset({"1"}),
        troubles=("1", "1"),
        runs=(
            FIRST,
            Ended("r2", 65, "quarantined", 65),
        ),
    )
    assert look(replace(refused, refusals=("a of 1", "b of 1"))).good
    assert not look(replace(refused, refusals=("a of 1", "a of 1"))).good


def test_what_is_remembered_and_nowhere_is_found() -> None:
    ghost = Ref("List", "ghost")
    haunted = replace(truth(), known={**truth().known, ghost: known(ghost, "1", LEFT)})
    assert look(haunted).untrue == ("List/ghost is remembered, and is nowhere",)


REPORT = {
    "counts": {"MedicinalProductDefinition": {"updated": 1, "unchanged": 3}, "List": {"retired": 1}},
    "quarantined": [{"key": "9"}, {"key": "8 List/x"}],
    "troubles": 2,
    "watermark": {"before": "2026-03-01", "after": "2026-03-02"},
}
WRITTEN = (
    Written("r1", PRODUCT, "created"),
    Written("r1", LIST, "created"),
    Written("r1", GONE, "created"),
    Written("r2", PRODUCT, "updated"),
    Written("r2", GONE, "retired"),
)
BEGAN = {"counts": {"MedicinalProductDefinition": {"created": 1}, "List": {"created": 2}}}


def reported() -> Evidence:
    """The truth, with what the runs say of it."""
    first, last = replace(FIRST, report=BEGAN), replace(DONE, report=REPORT)
    aside = frozenset({"9", "8 List/x"})
    return replace(truth(), runs=(first, last), written=WRITTEN, watermark="2026-03-02", put_aside=aside)


def said(e: Evidence, **changes: object) -> Evidence:
    """The last run's report says this instead."""
    return replace(e, runs=(*e.runs[:-1], replace(e.runs[-1], report={**REPORT, **changes})))


def test_a_true_report_is_good() -> None:
    assert look(reported()) == Verdict()


@pytest.mark.parametrize(
    ("words", "plant"),
    [
        ("r2 counted 0 List retired, and the sink acknowledged 1", lambda e: said(e, counts={})),
        (
            "r2 counted 2 MedicinalProductDefinition updated",
            lambda e: said(e, counts={**REPORT["counts"], PRODUCT.type: {"updated": 2}}),  # type: ignore[dict-item]
        ),
        (
            "r2 counted 1 MedicinalProductDefinition created",
            lambda e: said(e, counts={PRODUCT.type: {"created": 1}, "List": {"retired": 1}}),
        ),
        (
            "r1 counted 1 MedicinalProductDefinition created",
            lambda e: replace(
                e,
                written=WRITTEN[1:],
                runs=(Ended("r1", -signal.SIGKILL, "lost", None, report=BEGAN), e.runs[-1]),
            ),
        ),
        ("says that 9 lies in quarantine, and it does not", lambda e: replace(e, put_aside=frozenset({"8 List/x"}))),
        ("put 7 into quarantine, and does not say so", lambda e: replace(e, put_aside={*e.put_aside, "7"})),
        ("fewer troubles than it names", lambda e: said(e, troubles=1)),
        ("says that the watermark is at 2026-03-02", lambda e: replace(e, watermark="2026-03-01")),
        ("says that the watermark is at None", lambda e: said(e, watermark={"after": None})),
        ("the watermark is at 2026-03-02, and the source is at", lambda e: replace(e, today=date(2026, 3, 1))),
    ],
)
def test_a_report_is_held_to_what_happened(words: str, plant: Callable[[Evidence], Evidence]) -> None:
    assert any(words in what for what in look(plant(reported())).untrue), look(plant(reported()))


def test_what_the_source_called_over_itself_is_counted_as_the_one_or_the_other() -> None:
    retired = next(w for w in WRITTEN if w.did == "retired")
    unclear = replace(reported(), written=tuple(replace(w, ambiguous=True) if w is retired else w for w in WRITTEN))
    assert look(unclear).good
    counts = dict(REPORT["counts"])  # type: ignore[call-overload]
    counts[retired.ref.type] = {**counts[retired.ref.type], "updated": 1}
    del counts[retired.ref.type]["retired"]
    assert look(said(unclear, counts=counts)).good
    assert not look(said(reported(), counts=counts)).good
    counts[retired.ref.type] = {**counts[retired.ref.type], "retired": 1}
    assert not look(said(unclear, counts=counts)).good, "one version, and counted twice"
    del counts[retired.ref.type]
    assert not look(said(unclear, counts=counts)).good


def test_what_nobody_was_told_of_may_be_counted_and_need_not_be() -> None:
    lost = replace(reported(), written=(*WRITTEN[:3], replace(WRITTEN[3], answered=False), WRITTEN[4]))
    assert look(lost).good
    assert look(said(lost, counts={"List": {"retired": 1}})).good
    assert not look(said(lost, counts={**REPORT["counts"], PRODUCT.type: {"updated": 2}})).good  # type: ignore[dict-item]


def test_a_run_that_was_killed_need_not_have_counted() -> None:
    killed = replace(reported(), runs=(Ended("r1", -signal.SIGKILL, "lost", None), reported().runs[-1]))
    assert look(killed).good


def test_a_run_that_failed_before_it_looked_says_of_no_watermark_that_it_moved() -> None:
    failed = Ended("r2", 75, "failed", 75, report={**REPORT, "watermark": {"before": None, "after": None}})
    assert look(replace(reported(), runs=(reported().runs[0], failed))).good


AWAY: list[dict[Ref, bytes]] = [{GONE: LEFT}, {}, {GONE: LEFT}]


@pytest.mark.parametrize(
    ("words", "plant"),
    [
        ("deleted what was to be retired", lambda e: held(e, GONE, Version(LEFT, "r1"), Version(None, "r2"))),
        ("retired what was to be deleted", lambda e: replace(e, removal="delete")),
        (
            "retired it, and changed it",
            lambda e: held(e, GONE, Version(LEFT, "r1"), Version(retired(body(GONE, "another title")), "r2")),
        ),
        (
            "is removed, and the source has it",
            lambda e: held(
                e,
                LIST,
                Version(OLD[LIST], "r1"),
                Version(retired(OLD[LIST]), "r1"),
                Version(OLD[LIST], "r2"),
            ),
        ),
        (
            "said before",
            lambda e: replace(
                held(
                    e,
                    GONE,
                    *(Version(LEFT, "r1"), Version(retired(LEFT), "r1"), Version(LEFT, "r2")),
                    *(Version(retired(LEFT), "r2"), Version(LEFT, "r2")),
                ),
                editions={**e.editions, "2": AWAY},
            ),
        ),
        ("is nobody's", lambda e: held(e, LIST, Version(OLD[LIST], None))),
        ("which never ran", lambda e: held(e, LIST, Version(OLD[LIST], "r7"))),
        ("nothing at the source", lambda e: held(e, Ref("List", "new"), Version(LEFT, "r1"))),
    ],
)
def test_a_version_without_a_cause_or_otherwise_than_asked_is_found(
    words: str, plant: Callable[[Evidence], Evidence]
) -> None:
    asked = replace(truth(), removal="retire")
    assert look(asked) == Verdict()
    for look_at in (look, look_meanwhile):
        assert any(words in what for what in look_at(plant(asked)).untrue), look_at(plant(asked))


def test_what_went_and_came_back_is_written_again() -> None:
    again = held(truth(), GONE, Version(LEFT, "r1"), Version(retired(LEFT), "r1"), Version(LEFT, "r2"))
    again = replace(again, editions={**again.editions, "2": AWAY}, settled=frozenset())
    assert not list(look_meanwhile(again).untrue)


def test_what_somebody_else_wrote_over_may_be_written_again() -> None:
    edited = held(truth(), LIST, Version(OLD[LIST], "r1"), Version(LEFT, None), Version(OLD[LIST], "r2"))
    assert look_meanwhile(replace(edited, tampered=True)).good
    assert not look_meanwhile(edited).good


def test_what_is_to_be_deleted_may_not_stay_retired() -> None:
    deleted = replace(truth(), removal="delete")
    assert any("as if the source had it" in what for what in look(deleted).false_green)
    gone = held(deleted, GONE, Version(LEFT, "r1"), Version(None, "r2"))
    assert look(replace(gone, known={**gone.known, GONE: known(GONE, "2", LEFT, State.DELETED)})).good


def test_what_somebody_elses_resource_refers_to_may_still_be_to_go() -> None:
    """A server that keeps references in order does not delete it (found by `make fire-servers`, seed 105)."""
    theirs = Ref("RegulatedAuthorization", "edited")
    referring = dump({"resourceType": theirs.type, "id": theirs.id, "holder": {"reference": str(GONE)}})
    waits = replace(held(truth(), GONE, Version(LEFT, "r1")), removal="delete", pending=(GONE,), settled=frozenset())
    told = (*look(waits).lost, *look(waits).false_green, *look(waits).untrue)
    assert f"{GONE} is still to go" in told
    kept = look(held(replace(waits, tampered=True), theirs, Version(referring, "r1"), Version(referring, None)))
    assert not [what for what in (*kept.lost, *kept.false_green, *kept.untrue) if str(GONE) in what]


@pytest.mark.parametrize(
    ("product", "refused"),
    [
        (Version(body(PRODUCT, "edited"), None), {"1"}),
        (Version(OLD[PRODUCT], None), {"1"}),
        (Version(NEW[PRODUCT], None), set()),
        (Version(NEW[PRODUCT].replace(b":", b": "), None), set()),
        (Version(None, None), set()),
        (Version(OLD[PRODUCT], "r1"), set()),
    ],
    ids=["edited", "put back", "the same", "the same, spelt otherwise", "deleted", "ours"],
)
def test_somebody_elses_is_refused_where_it_is_not_what_the_source_says(
    product: Version, refused: set[str], tmp_path: Path
) -> None:
    """What trials share is the same in all of them: the first has written it, and to the others it is unchanged (found
    by `make fire-servers`, seed 2)."""
    life = Life(random.Random(1), "sqlite://", tmp_path)
    life.on_existing, life.tampered = "refuse", True
    life.story.editions, life.story.refused = {"1": [OLD, NEW], "2": [{GONE: LEFT}]}, set()
    there = {
        PRODUCT: [Held("1", Version(OLD[PRODUCT], "r1")), Held("2", product)],
        LIST: [Held("1", Version(body(LIST, "edited"), None))],
    }
    assert life._untaken({PRODUCT: there[PRODUCT]}) == refused
    assert life._untaken(there) == {"1"}
    life.on_existing = "adopt"
    assert life._untaken(there) == set()


def test_what_a_person_was_told_of_may_still_be_to_go() -> None:
    edited = replace(held(truth(), GONE, Version(LEFT, "r1")), pending=(GONE,), settled=frozenset(), tampered=True)
    assert f"{GONE} is still to go" in look(edited).untrue
    assert f"{GONE} is still to go" not in look(replace(edited, troubles=(f"removal of {GONE}",))).untrue


def test_a_settled_row_of_what_the_source_removed_says_that_it_went() -> None:
    unsure = replace(held(truth(), GONE, Version(LEFT, "r1")), runs=(FIRST, Ended("r2", -signal.SIGKILL, "lost", None)))
    assert look(unsure).lost == ("f4 counts as settled, and what it announced is nowhere",)
    assert look(replace(unsure, pending=(GONE,))).good
    assert look(replace(unsure, settled=frozenset({"f1", "f2", "f3"}))).good


def test_bodies_are_identical_number_for_number_but_for_what_a_server_adds() -> None:
    sent = b'{"resourceType":"List","id":"l","value":1.00,"meta":{"profile":["p"]}}'
    kept = b'{"id":"l", "resourceType":"List","value":1.00,"meta":{"versionId":"3","source":"#r","profile":["p"]}}'
    assert identical(sent, kept)
    assert not identical(sent, kept.replace(b"1.00", b"1.0"))
    assert not identical(sent, kept.replace(b'"p"', b'"q"'))
    assert not identical(sent, kept.replace(b"1.00", b'"1.00"'))


@pytest.mark.parametrize(
    ("kind", "status"), [("Composition", "deprecated"), ("List", "retired"), ("DocumentReference", "superseded")]
)
def test_what_is_over_says_so_in_the_words_of_its_type(kind: str, status: str) -> None:
    before = dump({"resourceType": kind, "id": "x", "status": "current"})
    after = dump({"resourceType": kind, "id": "x", "status": status})
    assert retires(before, after)
    assert not is_retired(before)
    assert not retires(before, dump({"resourceType": kind, "id": "y", "status": status}))
    document = dump(
        {"resourceType": "Bundle", "entry": [{"fullUrl": "u", "resource": {"resourceType": kind, "status": status}}]}
    )
    assert is_retired(document)


def test_a_document_is_over_when_what_it_begins_with_is_whatever_it_is_about() -> None:
    def document(text: str, product: str) -> bytes:
        entries = [{"resourceType": "Composition", "status": text}, {"resourceType": "List", "status": product}]
        return dump({"resourceType": "Bundle", "entry": [{"resource": resource} for resource in entries]})

    assert is_retired(document("deprecated", "current"))
    assert is_retired(document("deprecated", "retired"))
    assert not is_retired(document("final", "retired"))


def test_a_planned_stop_may_leave_work_and_may_not_hide_what_it_set_aside() -> None:
    stopped = replace(not_written(truth()), settled=frozenset({"f1", "f2", "f4"}), unusable=frozenset({"3"}))
    stopped = replace(stopped, runs=(FIRST, Ended("r2", 0, "partial", 0)))
    assert look(stopped) == Verdict()
    assert look(replace(stopped, newly_troubled=frozenset({"3"}), troubles=["3"])).false_green
    assert look(replace(stopped, runs=(FIRST, DONE))).false_green


MPD, RA, PPD, ORG = (
    Ref("MedicinalProductDefinition", "m"),
    Ref("RegulatedAuthorization", "r"),
    Ref("PackagedProductDefinition", "p"),
    Ref("Organization", "o"),
)
ING, DOC, TEXT, EPI, LISTED = (
    Ref("Ingredient", "i"),
    Ref("DocumentReference", "d"),
    Ref("Composition", "c"),
    Ref("Bundle", "b"),
    Ref("List", "l"),
)
FACTS = Facts(
    name="ONE",
    holder="A COMPANY, S.A.,",
    packages={"77"},
    substances={"ONUM"},
    texts={"ft"},
    papers={"https://one.invalid"},
)


def mapped(**changes: object) -> Evidence:
    """One product at the sink, as it should be but for `changes` of its resources' members."""
    active = {"coding": [{"code": "active"}]}
    about = [{"reference": str(MPD)}]
    text: dict[str, object] = {"subject": about, "status": "final"}
    resources: dict[Ref, dict[str, object]] = {
        MPD: {"identifier": [{"value": "7"}], "name": [{"productName": "ONE"}], "status": active},
        RA: {"subject": [{"reference": str(MPD)}], "holder": {"reference": str(ORG)}, "status": {"text": "Valid"}},
        PPD: {"identifier": [{"value": "77"}], "packageFor": [{"reference": str(MPD)}], "status": active},
        ORG: {"name": "A Company, S.A."},
        ING: {"for": about, "status": "active", "substance": {"code": {"concept": {"text": "ONUM"}}}},
        DOC: {
            "subject": about[0],
            "status": "current",
            "content": [{"attachment": {"url": "https://one.invalid"}}],
        },
        TEXT: text,
        EPI: {"entry": [{"resource": {"resourceType": "Composition", "id": "c", **text}}]},
        LISTED: {"subject": about, "status": "current", "entry": [{"item": {"reference": str(EPI)}}]},
    }
    bodies = {
        ref: dump({"resourceType": ref.type, "id": ref.id, **members, **changes.get(ref.id, {})})  # type: ignore[dict-item]
        for ref, members in resources.items()
    }
    held = {ref: [Version(made, "r1")] for ref, made in bodies.items()}
    known_ones = {ref: known(ref, "1", made) for ref, made in bodies.items()}
    versions = dict.fromkeys(bodies, "1")
    return Evidence(
        {"7": [bodies]}, set(), held, known=known_ones, versions=versions, runs=(FIRST,), facts={"7": FACTS}
    )


def test_a_product_that_is_as_the_register_says_is_good() -> None:
    assert look(mapped()) == Verdict()


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("as 0 products", {"m": {"identifier": []}}),
        ("under another name", {"m": {"name": [{"productName": "ON"}]}}),
        ("as if it were over", {"m": {"status": {"coding": [{"code": "retired"}]}}}),
        ("with another holder", {"r": {"holder": {"reference": "Organization/other"}}}),
        ("with another holder", {"o": {"name": "Another"}}),
        ("with another status", {"r": {"status": {"text": "Suspended"}}}),
        ("without 77", {"p": {"identifier": [{"value": "78"}]}}),
        ("with PackagedProductDefinition/p, which it has no longer", {"p": {"identifier": [{"value": "78"}]}}),
        ("with packs that are not as alive", {"p": {"status": {"coding": [{"code": "retired"}]}}}),
        ("made of something else", {"i": {"substance": {"code": {"concept": {"text": "DOSUM"}}}}}),
        ("made of something else", {"i": {"status": "retired"}}),
        ("without https://one.invalid", {"d": {"status": "superseded"}}),
        ("without https://one.invalid", {"d": {"subject": {"reference": "MedicinalProductDefinition/other"}}}),
        ("with DocumentReference/d, which it has no longer", {"d": {"content": [{"attachment": {"url": "other"}}]}}),
        ("with 0 texts", {"c": {"status": "deprecated"}}),
        ("with other documents than texts", {"b": {"entry": [{"resource": {"resourceType": "Basic", "id": "x"}}]}}),
        ("with another list than it has documents", {"l": {"status": "retired"}}),
        ("with another list than it has documents", {"l": {"entry": []}}),
        ("with a document listed twice", {"l": {"entry": [{"item": {"reference": str(EPI)}}] * 2}}),
    ],
)
def test_what_was_mapped_wrongly_is_found_though_all_agree(words: str, changes: dict[str, object]) -> None:
    assert any(words in what for what in look(mapped(**changes)).untrue), look(mapped(**changes))


def test_of_a_revoked_product_nothing_is_alive_but_its_papers() -> None:
    over = {"coding": [{"code": "retired"}]}
    text: dict[str, object] = {"status": "deprecated"}
    inside = {"entry": [{"resource": {"resourceType": "Composition", "id": "c", **text}}]}
    all_over = {"m": {"status": over}, "p": {"status": over}, "i": {"status": "retired"}, "c": text, "b": inside}
    revoked = {"7": replace(FACTS, revoked=True)}
    assert look(replace(mapped(**all_over, l={"status": "retired"}), facts=revoked)) == Verdict()
    left = look(replace(mapped(**all_over), facts=revoked)).untrue
    assert left == ("7 is at the sink with List/l as if it were not revoked",)


def test_a_row_of_one_flag_promises_what_is_of_that_flag_and_no_more() -> None:
    flagged = RowSeen("f3", "1", 1, refs={LIST})
    killed = (FIRST, Ended("r2", -signal.SIGKILL, "lost", None))
    unwritten = replace(not_written(truth()), runs=killed)
    told = tuple(flagged if row.key == "f3" else row for row in unwritten.feed)
    assert look(unwritten).lost
    assert not look(replace(unwritten, feed=told)).lost
    gone = {ref: versions for ref, versions in unwritten.held.items() if ref != LIST}
    assert any("f3 counts as settled" in what for what in look(replace(unwritten, feed=told, held=gone)).lost)
    waits = {LIST: frozenset({PRODUCT})}
    waiting = look(replace(unwritten, feed=told, held=gone, waiting=waits))
    assert not any("f3" in what for what in waiting.lost), "what waits is settled"


def test_a_row_of_one_flag_in_quarantine_is_trouble_of_its_product() -> None:
    seen = replace(truth(), troubles=["1#psum"], calm=False)
    assert (seen.troubled, "1" in seen.set_aside) == ({"1"}, True)


def test_what_the_source_says_is_over_was_not_retired_otherwise() -> None:
    over = retired(LEFT)
    said_so = replace(truth(), removal="delete", editions={**truth().editions, "2": [{GONE: LEFT}, {GONE: over}]})
    assert not any("retired what was to be" in what for what in look(said_so).untrue)
    assert any("retired what was to be" in what for what in look(replace(truth(), removal="delete")).untrue)


def test_a_run_that_is_killed_after_its_record_was_closed_is_held_to_that() -> None:
    killed = Ended("r2", -signal.SIGKILL, "done", 0)
    assert look(replace(truth(), runs=(FIRST, killed))).good
    assert look(replace(not_written(truth()), runs=(FIRST, killed))).false_green
    assert look(replace(truth(), runs=(FIRST, replace(killed, recorded=None)))).false_green


@pytest.mark.parametrize(
    ("code", "by", "recorded", "ended"),
    [
        (143, signal.SIGTERM, 0, 0),
        (130, signal.SIGINT, 65, 65),
        (130, signal.SIGTERM, 0, 130),
        (0, signal.SIGTERM, 143, 0),
        (1, signal.SIGINT, 0, 1),
        (143, signal.SIGTERM, None, 143),
        (-signal.SIGKILL, signal.SIGKILL, 0, -signal.SIGKILL),
    ],
)
def test_what_a_signal_excuses_of_an_exit_code(code: int, by: int, recorded: int | None, ended: int) -> None:
    """Only that of one who was interrupted when the record was closed; exit code 0 is not made 143 by a record."""
    assert as_it_ended(code, by, recorded) == ended


def test_a_signal_does_not_excuse_a_code_that_is_not_the_recorded_one() -> None:
    green = Ended("r2", as_it_ended(0, signal.SIGTERM, 143), "interrupted", 143)
    assert look(replace(truth(), runs=(FIRST, green))).false_green


@pytest.mark.parametrize(
    ("said", "lasted", "expiry", "lost"),
    [
        (b"the lease of cima is lost", 1.4, 2, True),
        (b"the lease of cima is lost", 1.4, 30, False),
        (b"the lease of cima is lost", 1.3, 2, False),
        (b"the server does not answer", 9.0, 2, False),
    ],
)
def test_a_lease_is_lost_by_itself_where_the_run_says_so_and_had_the_time(
    said: bytes, lasted: float, expiry: float, lost: bool
) -> None:
    assert lost_its_lease(said, lasted, expiry) is lost


def partly_refused() -> Evidence:
    """The product's own resource is one that the server never takes; its list changed, and is there."""
    newer = {PRODUCT: body(PRODUCT, "never taken"), LIST: body(LIST, "another list")}
    return replace(
        held(truth(), LIST, Version(OLD[LIST], "r1"), Version(newer[LIST], "r2")),
        editions={**truth().editions, "1": [OLD, NEW, newer]},
        known={**truth().known, LIST: known(LIST, "2", newer[LIST])},
        versions={**truth().versions, LIST: "2"},
        refused={"1"},
        never={PRODUCT},
        troubles=["1"],
        refusals=[f"{PRODUCT} of 1"],
        newly_troubled={"1"},
        runs=(FIRST, Ended("r2", 65, "quarantined", 65)),
    )


def test_beside_what_is_refused_all_of_a_product_is_there() -> None:
    seen = partly_refused()
    assert look(seen) == Verdict()
    assert look(held(seen, LIST, Version(OLD[LIST], "r1"))).lost == (f"{LIST} is not what the source says",)
    without = replace(seen, held={ref: v for ref, v in seen.held.items() if ref != LIST})
    assert f"{LIST} is not there" in look(without).lost
    waiting = look(replace(without, waiting={LIST: frozenset({Ref("List", "nowhere")})}))
    assert not waiting.lost
    theirs = replace(held(seen, LIST, Version(OLD[LIST], "r1"), Version(LEFT, None)), tampered=True)
    assert not look(theirs).lost
    deleted = replace(held(seen, LIST, Version(OLD[LIST], "r1"), Version(None, None)), tampered=True)
    assert look(deleted).lost == (f"{LIST} is not there",)
    busy = replace(held(seen, LIST, Version(OLD[LIST], "r1")), calm=False, unfetched=["1"])
    assert not look(busy).lost, "nobody could ask"


def test_each_refused_resource_lies_in_quarantine_once_by_itself() -> None:
    seen, own = partly_refused(), f"{PRODUCT} of 1"
    told = f"{PRODUCT} of 1 is refused, and lies in quarantine"
    assert f"{told} 0 times" in look(replace(seen, refusals=[])).untrue
    assert f"{told} 2 times" in look(replace(seen, refusals=[own, own], troubles=["1", "1"])).untrue
    assert f"{told} 2 times" in look(replace(seen, refusals=[own, f"{own}#psum"], troubles=["1", "1#psum"])).untrue


def test_what_a_refused_product_has_no_longer_is_gone() -> None:
    seen = partly_refused()
    left = [*seen.editions["1"][:2], {PRODUCT: seen.editions["1"][-1][PRODUCT]}]
    assert look(replace(seen, editions={**seen.editions, "1": left})).lost == (
        f"{LIST} is still there as if the source had it",
    )


def test_what_is_remembered_of_a_version_is_what_it_says() -> None:
    otherwise = replace(truth(), known={**truth().known, PRODUCT: known(PRODUCT, "2", OLD[PRODUCT])})
    told = (f"{PRODUCT} is remembered in version 2 as something else than it is",)
    assert look(otherwise).untrue == told
    killed = replace(otherwise, runs=(FIRST, Ended("r2", -signal.SIGKILL, "lost", None)))
    assert look(killed).untrue == told, "whatever the end of the run"
    assert look(replace(otherwise, verbatim=False)).good, "the sink spells it anew"
    for digest in (DOUBTED, FORGOTTEN, AWAITED):
        doubted = replace(otherwise.known[PRODUCT], digest=digest)
        assert look(replace(otherwise, known={**otherwise.known, PRODUCT: doubted})).good


def test_what_is_over_is_remembered_so() -> None:
    alive = replace(truth(), known={**truth().known, GONE: known(GONE, "2", retired(LEFT))})
    assert look(alive).untrue == (f"{GONE} is remembered as live, and is retired",)
    over = replace(truth(), known={**truth().known, LIST: known(LIST, "1", NEW[LIST], State.RETIRED)})
    assert look(over).untrue == (f"{LIST} is remembered as retired, and is live",)
    unread = replace(alive, runs=(FIRST, Ended("r2", 75, "failed", 75)))
    assert not look(unread).untrue, "it came back, and the run did not come so far"
