"""A runner that is paused in the middle of a commit holds the lease's row, whatever the lease says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from store import engine
from store.handle import Stored, open_store
from store.schema import leases
from tsi_fetch.errors import TryAgain


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def pause_in_a_commit(one: Stored, meanwhile: Callable[[], None]) -> None:
    with one.database.write() as conn:
        conn.execute(select(leases).with_for_update())
        meanwhile()


def test_who_is_paused_in_a_commit_is_cut_off_and_the_next_takes_over(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "IDLE_SECONDS", 0.2)
    took: list[str] = []
    with open_store(postgres_url) as one, open_store(postgres_url) as two:
        with one.lease("cima", "out", "run-1", wait=never):
            pass

        def take_over() -> None:
            with two.lease("cima", "out", "run-2", wait=never):
                took.append("run-2")

        with pytest.raises(TryAgain):
            pause_in_a_commit(one, take_over)
    assert took == ["run-2"]


def test_nobody_waits_for_ever_for_a_row_that_another_keeps(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_SECONDS", 0.2)
    with open_store(postgres_url) as one, open_store(postgres_url) as two:
        with one.lease("cima", "out", "run-1", wait=never):
            pass

        def take_over() -> None:
            with pytest.raises(TryAgain), two.lease("cima", "out", "run-2", wait=never):
                raise AssertionError("two hold it")

        pause_in_a_commit(one, take_over)
