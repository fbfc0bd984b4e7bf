"""A runner that is paused in the middle of a commit holds the lease's row, whatever the lease says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

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
    took: list[str] = []
    with ExitStack() as stack:
        with monkeypatch.context() as hasty:  # the paused one alone: on a busy machine the other may be slow, too
            hasty.setattr(engine, "IDLE_SECONDS", 0.2)
            one = stack.enter_context(open_store(postgres_url))
        two = stack.enter_context(open_store(postgres_url))
        with two.lease("cima", "out", "run-1", wait=never):
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


def test_a_server_whose_host_falls_silent_is_given_up_unless_the_url_says_otherwise(postgres_url: str) -> None:
    def parameters(url: str) -> dict[str, str]:
        with open_store(url) as stored, stored.database.read() as conn:
            info: dict[str, str] = conn.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
            return info

    named = {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
    assert {name: int(value) for name, value in parameters(postgres_url).items() if name in named} == {
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 4,
        "tcp_user_timeout": 30_000,
    }
    joined = "&" if "?" in postgres_url else "?"
    assert parameters(f"{postgres_url}{joined}tcp_user_timeout=5000")["tcp_user_timeout"] == "5000"
