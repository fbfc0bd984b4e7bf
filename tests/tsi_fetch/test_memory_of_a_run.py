"""What a run holds in Python's memory.  Deterministic: sizes, not times.  SQLite's own is bounded by its page cache."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from house import House
from table_source import TableSource

from dev.bench_memory import Counting
from dev.bench_resources import KINDS, LocalSource
from store.engine import CACHE_KIB
from store.handle import open_store
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import Batch, Position, Row, RunRecord, Settlement

FEW, MANY = 500, 1500


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


class Weighing(TableSource):
    """Weighs what is held, garbage apart, while the feed is read."""

    weight = 0

    def pull(self, position: Position, started: datetime) -> Iterator[Batch]:
        gc.collect()
        self.weight = tracemalloc.get_traced_memory()[0]
        return super().pull(position, started)


def test_a_checkpoint_is_held_once(tmp_path: Path, traced: None) -> None:
    source = Weighing({"p1": {"a": "A"}})
    house = House(tmp_path, source)
    house.run()
    house.run()
    without, keys = source.weight, tuple(f"row-{n:06}" for n in range(15_000))
    with open_store(house.url) as stored, stored.lease("job", "memory", "cut", wait=house.clock.sleep) as store:
        store.settle(Settlement("changes", checkpoint=keys))
    del keys
    house.run()
    assert 50 < (source.weight - without) / 15_000 < 150


class Late(LocalSource):
    """Weighs what is held, garbage apart, when it gives its last rows."""

    weight = 0

    def row(self, number: int, *, settles: bool = False) -> Row:
        if number == self.rows - 1:
            gc.collect()
            self.weight = tracemalloc.get_traced_memory()[0]
        return super().row(number, settles=settles)


def test_a_run_over_three_times_the_rows_holds_no_more(tmp_path: Path, traced: None) -> None:
    held_at_end(tmp_path / "warm", FEW)  # statements are built
    few, many = held_at_end(tmp_path / "few", FEW), held_at_end(tmp_path / "many", MANY)
    assert many - few < 50 * (MANY - FEW), "not even a key for each row more"


def held_at_end(folder: Path, rows: int) -> int:
    """Bytes held at the last rows of a first run beyond what was there before it: it reads the listing, then the feed,
    which gives everything.  The sink is near: how many batches are on their way to a far one is left to chance."""
    folder.mkdir()
    source = Late(KINDS["small"](), "m", rows, batch=100, read="everything")
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    with open_store(f"sqlite:///{folder}/store.db", create=True) as stored:
        clock = stored.clock()
        with stored.lease("job", "counting", "run-1", wait=clock.sleep) as store:
            store.begin_run(RunRecord("run-1", "job", clock.now()))
            ports = Ports(source, Counting(0, folder / "marker.json"), store, clock)
            report = run_job(ports, Settings("job", "run-1", validate="off"))
    assert (report.outcome, report.rows["read"]) == ("done", rows)
    return source.weight - before


def test_sqlites_page_cache_is_small_beside_a_run(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/store.db", create=True) as stored, stored.database.read() as conn:
        assert conn.exec_driver_sql("PRAGMA cache_size").scalar() == -CACHE_KIB
    assert CACHE_KIB <= 2048, "each KiB of it is a KiB by which a long run outgrows a short one"
