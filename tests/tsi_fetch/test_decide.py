"""The pure decision, as a table."""

from __future__ import annotations

import pytest

from tsi_fetch.decide import FOREIGN, GONE, OWNED, Policy, collapse, decide, decide_stale, leaving
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.words import DOUBTED, Action, Held, Known, Ref, State, Upsert, Write, WriteAction

REF = Ref("Organization", "a")
OLD = b'{"resourceType":"Organization","id":"a","name":"old"}'
NEW = b'{"resourceType":"Organization","id":"a","name":"new"}'
POLICY = Policy(job="cima", mapping=1)


def upsert(body: bytes = NEW, order: int | None = 10) -> Upsert:
    return Upsert(REF, body, "s", order)


def known(body: bytes = OLD, **fields: object) -> Known:
    base = {"digest": canonical_digest(body), "job": "cima", "version": "3", "order": 5, "mapping": 1} | fields
    return Known(REF, **base)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "remembered", "held", "policy", "action", "version"),
    [
        pytest.param(upsert(), None, None, POLICY, Action.CREATE, None, id="new"),
        pytest.param(upsert(), known(), None, POLICY, Action.UPDATE, "3", id="changed"),
        pytest.param(upsert(), known(NEW), None, POLICY, Action.UNCHANGED, "3", id="unchanged"),
        pytest.param(upsert(), known(NEW), None, Policy("cima", 1, again=True), Action.UPDATE, "3", id="again"),
        pytest.param(upsert(order=4), known(), None, POLICY, Action.OLDER, "3", id="lower never replaces higher"),
        pytest.param(upsert(order=5), known(), None, POLICY, Action.UPDATE, "3", id="a tie is not older"),
        pytest.param(upsert(order=None), known(), None, POLICY, Action.UPDATE, "3", id="no order: the later wins"),
        pytest.param(
            upsert(), known(state=State.DELETED), None, POLICY, Action.CREATE, "3", id="a return carries the tombstone"
        ),
        pytest.param(
            upsert(order=4), known(state=State.DELETED), None, POLICY, Action.OLDER, "3", id="older than its deletion"
        ),
        pytest.param(
            upsert(), known(state=State.RETIRED), None, POLICY, Action.UPDATE, "3", id="a retired one returns"
        ),
        pytest.param(upsert(), None, Held(REF, "7", NEW), POLICY, Action.UNCHANGED, "7", id="there, and equal"),
        pytest.param(upsert(), None, Held(REF, "7", OLD), POLICY, Action.REFUSE, "7", id="there, and foreign"),
        pytest.param(
            upsert(), None, Held(REF, "7", OLD), Policy("cima", 1, adopt=True), Action.UPDATE, "7", id="adopted"
        ),
        pytest.param(
            upsert(), known(version=None), Held(REF, "7", NEW), POLICY, Action.UNCHANGED, "7", id="version forgotten"
        ),
        pytest.param(
            upsert(), known(digest=DOUBTED), Held(REF, "3", NEW), POLICY, Action.UNCHANGED, "3", id="in doubt, there"
        ),
        pytest.param(
            upsert(), known(digest=DOUBTED), Held(REF, "3", OLD), POLICY, Action.UPDATE, "3", id="in doubt, as it was"
        ),
        pytest.param(
            upsert(), known(digest=DOUBTED), Held(REF, "4", OLD), POLICY, Action.REFUSE, "4", id="in doubt, and foreign"
        ),
        pytest.param(upsert(), known(digest=DOUBTED), None, POLICY, Action.UPDATE, "3", id="in doubt, and gone"),
        pytest.param(upsert(), known(job="other"), None, POLICY, Action.REFUSE, None, id="owned by another job"),
        pytest.param(
            upsert(), known(job="other"), None, Policy("cima", 1, shared=frozenset({"Organization"})),
            Action.UPDATE, "3", id="shared type",
        ),
    ],
)  # fmt: skip
def test_decides(
    change: Upsert, remembered: Known | None, held: Held | None, policy: Policy, action: Action, version: str | None
) -> None:
    decision = decide(change, remembered, held, policy)
    assert (decision.action, decision.version) == (action, version)


@pytest.mark.parametrize("token", ["1e9999999999999999999", "1e-9999999999999999999", "1e999999999"])
def test_a_number_without_bounds_is_decided_like_any_other(token: str) -> None:
    body = NEW.replace(b'"new"', token.encode())
    assert decide(upsert(body), None, Held(REF, "7", OLD), POLICY).fault == FOREIGN
    assert decide(upsert(body), None, Held(REF, "7", body + b" "), POLICY).action is Action.UNCHANGED


def test_refusals_say_why() -> None:
    assert decide(upsert(), known(job="other"), None, POLICY).fault == OWNED
    assert decide(upsert(), None, Held(REF, "7", OLD), POLICY).fault == FOREIGN


def test_equal_content_collapses_and_keeps_the_highest_order() -> None:
    assert collapse([upsert(order=1), upsert(order=9)]).upsert == upsert(order=9)


HUNDRED, EXPONENT = (NEW.replace(b'"new"', token) for token in (b"100", b"1e2"))


@pytest.mark.parametrize("orders", [(None, None), (None, 3), (3, 3)])
def test_equal_content_in_another_spelling_collapses(orders: tuple[int | None, int | None]) -> None:
    result = collapse([upsert(HUNDRED, orders[0]), upsert(EXPONENT, orders[1])])
    assert (result.clashing, result.upsert and result.upsert.order) == ((), orders[1])


def test_two_changes_are_not_equal_where_one_alone_has_a_generated_text() -> None:
    text = b',"text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">x</div>"}}'
    told = NEW[:-1] + text
    assert len(collapse([upsert(NEW, None), upsert(told, None)]).clashing) == 2
    assert len(collapse([upsert(told, None), upsert(NEW, None)]).clashing) == 2


def test_the_later_order_wins() -> None:
    assert collapse([upsert(OLD, 9), upsert(NEW, 1)]).upsert == upsert(OLD, 9)


@pytest.mark.parametrize("orders", [(None, None), (None, 3), (3, 3)])
def test_what_no_order_tells_apart_clashes(orders: tuple[int | None, int | None]) -> None:
    result = collapse([upsert(OLD, orders[0]), upsert(NEW, orders[1])])
    assert result.upsert is None
    assert len(result.clashing) == 2


WRITE = Write(REF, WriteAction.PUT, "3", NEW)


def test_what_was_only_held_back_is_sent_again() -> None:
    assert decide_stale(WRITE, Held(REF, "3", OLD), ours=False, adopt=False).version == "3"
    new = Write(REF, WriteAction.PUT, None, NEW)
    assert decide_stale(new, None, ours=False, adopt=False).fault is None


def test_a_lost_answer_is_acknowledged() -> None:
    anew = decide_stale(WRITE, Held(REF, "4", NEW), ours=False, adopt=False)
    assert (anew.acknowledged, anew.version) == (True, "4")


def test_what_a_killed_run_wrote_is_written_over() -> None:
    anew = decide_stale(WRITE, Held(REF, "4", OLD), ours=True, adopt=False)
    assert (anew.acknowledged, anew.version, anew.fault) == (False, "4", None)


def test_somebody_elses_work_is_not_overwritten() -> None:
    assert decide_stale(WRITE, Held(REF, "4", OLD), ours=False, adopt=False).fault == FOREIGN


def test_somebody_elses_deletion_is_not_undone() -> None:
    assert decide_stale(WRITE, Held(REF, "4", deleted=True), ours=False, adopt=False).fault == GONE
    assert decide_stale(WRITE, None, ours=False, adopt=False).fault == GONE


def test_adopting_takes_the_sinks_version() -> None:
    assert decide_stale(WRITE, Held(REF, "4", OLD), ours=False, adopt=True).version == "4"


def test_only_a_whole_scope_loses_by_silence() -> None:
    b = Ref("Organization", "b")
    assert leaving(frozenset({REF}), frozenset({REF, b}), whole=True) == {b}
    assert leaving(frozenset({REF}), frozenset({REF, b}), whole=False) == frozenset()
