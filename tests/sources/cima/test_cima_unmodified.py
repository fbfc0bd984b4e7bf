"""A register that gives ETags is asked by them: what is as it was costs no body, and nothing is mapped."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from fake_cima import BASE_URL, rows_of
from still_clock import StillClock

from dev.cima.generated import Generated, Settings
from sources.cima.options import CimaOptions
from sources.cima.source import Cima

SETTINGS = Settings(seed=3, products=12, text_bytes=2_000, etags=True)


class Asked:
    """The generated register as a transport; `bodies`: targets that were answered with one."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.register = Generated(settings)
        self.asked: list[str] = []
        self.bodies: list[str] = []

    def source(self) -> Cima:
        return Cima(CimaOptions(base_url=BASE_URL, rate=50), StillClock(), wire=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        reply = self.register.answer(target, "application/json", request.headers.get("If-None-Match", ""))
        self.asked.append(target)
        self.bodies += [target] if reply.status == 200 else []
        return httpx.Response(reply.status, headers={"Date": self.register.now(), **reply.headers}, content=reply.body)


@pytest.fixture
def upstream() -> Asked:
    return Asked()


def test_what_has_not_changed_is_unmodified_and_no_body_is_sent(upstream: Asked) -> None:
    numbers = upstream.register.numbers()[:5]
    first = rows_of(upstream.source().fetch(numbers))
    assert all(row.validators and len(row.validators) == len(row.answers) for row in first)
    upstream.asked.clear()
    upstream.bodies.clear()
    known = {row.key: row.validators for row in first if row.validators}
    again = rows_of(upstream.source().fetch(numbers, known))
    assert [(row.key, row.unmodified, row.answers, row.scopes) for row in again] == [
        (row.key, True, (), row.scopes) for row in first
    ]
    assert all(row.order is not None for row in again)
    assert (upstream.bodies, len(upstream.asked)) == ([], sum(len(row.answers) for row in first))


def test_what_a_run_has_fetched_already_is_not_asked_for_by_its_etags(upstream: Asked) -> None:
    number = upstream.register.numbers()[0]
    source = upstream.source()
    (first,) = rows_of(source.fetch([number]))
    assert first.validators
    asked = len(upstream.asked)
    (again,) = rows_of(source.fetch([number], {number: first.validators}))
    assert (again.unmodified, again.order) == (True, first.order)
    others = dict.fromkeys(first.validators, '"older"')
    (whole,) = rows_of(source.fetch([number], {number: others}))
    assert (whole.unmodified, whole.answers) == (False, first.answers)
    assert len(upstream.asked) == asked


def test_what_has_changed_is_fetched_whole_and_no_body_twice(upstream: Asked) -> None:
    number = upstream.register.numbers()[0]
    (first,) = rows_of(upstream.source().fetch([number]))
    assert first.validators is not None
    *same, last = first.validators
    stale = {**dict.fromkeys(same), **first.validators, last: '"another"'}
    upstream.asked.clear()
    upstream.bodies.clear()
    (again,) = rows_of(upstream.source().fetch([number], {number: stale}))
    assert again == replace(first, order=again.order, answers=again.answers)
    assert [(a.part, a.body) for a in again.answers] == [(a.part, a.body) for a in first.answers]
    assert len(set(upstream.bodies)) == len(upstream.bodies)
    # Answers are not stored: those that were 304 are asked for again, for their bodies.
    assert len(upstream.asked) == 2 * len(first.answers) - 1


def test_a_register_without_them_is_asked_for_everything() -> None:
    upstream = Asked(replace(SETTINGS, etags=False))
    (row,) = rows_of(upstream.source().fetch(upstream.register.numbers()[:1]))
    assert (row.validators, row.unmodified) == (None, False)


def test_a_refused_or_lost_answer_leaves_the_product_unfetched(upstream: Asked) -> None:
    number = upstream.register.numbers()[0]

    def busy(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500)

    source = Cima(CimaOptions(base_url=BASE_URL, rate=50, attempts=2), StillClock(), wire=httpx.MockTransport(busy))
    (row,) = rows_of(source.fetch([number], {number: {"medicamento": '"x"'}}))
    assert row.unfetched is not None
    assert (row.unfetched.code, row.unmodified) == ("cima-unreachable", False)
