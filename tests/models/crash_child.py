"""A child process that runs the CIMA job and ends by `os._exit` at one call of sink or store, counted as they come.

The points are found by a counting wrapper around the two ports, so a new method is covered on the day it is written.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from sqlalchemy import create_engine, update

from dev.cima_server import Register
from sinks.folder import Folder, FolderOptions
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from store.handle import open_store
from store.schema import leases
from tsi_fetch.clock import SystemClock
from tsi_fetch.http.limit import SteadyPace
from tsi_fetch.ports import Sink
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import RunRecord

DIED = 9
MakeSink = Callable[[str, str], Sink]


@dataclass(frozen=True)
class Scene:
    """Where a child finds its world.  `gone`: products that the register answers 204 for; `feed`: its change feed."""

    bodies: Path
    store: str
    folder: Path
    feed: tuple[tuple[str, int, int], ...] = ()  # nregistro, epoch ms, tipoCambio
    gone: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    sink: MakeSink | None = None
    tag: int = 0  # another register of the same products: other numbers, other names of companies


class Counter:
    """Counts points; dies at one of them."""

    def __init__(self, die_at: int | None) -> None:
        self.count, self._die_at = 0, die_at
        self.names: list[str] = []

    def point(self, name: str) -> None:
        self.count += 1
        self.names.append(name)
        if self.count == self._die_at:
            os._exit(DIED)


class Counted:
    """A port of which every call is two points, before and after, and every item of an iterator it gives, too."""

    def __init__(self, inner: object, name: str, counter: Counter) -> None:
        self._inner, self._name, self._counter = inner, name, counter

    def __getattr__(self, method: str) -> object:
        value = getattr(self._inner, method)
        if not callable(value):
            return value

        def call(*args: object, **kwargs: object) -> object:
            self._counter.point(f"before {self._name}.{method}")
            result = value(*args, **kwargs)
            if isinstance(result, Iterator):
                return self._items(method, result)
            self._counter.point(f"after {self._name}.{method}")
            return result

        return call

    def _items(self, method: str, items: Iterator[object]) -> Iterator[object]:
        for item in items:
            self._counter.point(f"after an item of {self._name}.{method}")
            yield item
        self._counter.point(f"after {self._name}.{method}")


def run_scene(scene: Scene, die_at: int | None = None) -> tuple[Report, list[str]]:
    """One whole run of the job over the scene; the report, and the points it passed."""
    counter = Counter(die_at)
    run_id = f"r{random.getrandbits(48):x}"
    clock = SystemClock()
    with open_store(scene.store, create=True) as stored:
        sink = scene.sink(run_id, stored.store_id) if scene.sink else _folder(scene, run_id)
        lease = stored.lease("cima", "sink", run_id, expiry=5, wait=lambda seconds: expire(scene.store))
        with closing(sink), closing(_source(scene)) as source, lease as store:
            store.begin_run(RunRecord(run_id, "cima", clock.now()))
            counted = Counted(sink, "sink", counter), Counted(store, "store", counter)
            report = run_job(Ports(source, *counted, clock), Settings("cima", run_id))  # type: ignore[arg-type]
            store.end_run(RunRecord(run_id, "cima", report.started, report.ended, report.outcome, report.exit_code))
    return report, counter.names


def expire(url: str) -> None:
    """Let the time pass that a dead holder's lease takes to expire."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as conn:
        conn.execute(update(leases).values(expires=datetime(2020, 1, 1, tzinfo=UTC)))
    engine.dispose()


def _folder(scene: Scene, run_id: str) -> Folder:
    return Folder(FolderOptions(path=scene.folder), SystemClock(), run_id)


def _source(scene: Scene) -> Cima:
    register = Register.of_folder(scene.bodies, date=datetime(2026, 3, 2, 8, tzinfo=UTC))
    if scene.tag:
        register = _tagged(register, scene.tag)
    for key in scene.gone:
        del register.products[key]
    for key in scene.renamed:
        register.products[key]["nombre"] += " NUEVO"
    register.feed = [
        {"nregistro": key, "fecha": at, "tipoCambio": kind, "cambio": ["estado"]} for key, at, kind in scene.feed
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        reply = register.answer(request.url.raw_path.decode())
        return httpx.Response(reply.status, content=reply.body, headers={**reply.headers, "Date": register.now()})

    options = CimaOptions(base_url="https://cima.invalid/cima/rest", batch=1)
    return Cima(options, SystemClock(), wire=httpx.MockTransport(answer), pace=SteadyPace(SystemClock(), 100_000))


def _tagged(register: Register, tag: int) -> Register:
    """The same register with numbers and companies of its own, so that a trial meets nothing of another one."""

    def number(nregistro: str) -> str:
        return f"T{tag}-{nregistro}"

    codes = {cn: f"{tag:03d}{n:03d}" for n, cn in enumerate(sorted(register.presentations))}

    for product in register.products.values():
        product["nregistro"] = number(product["nregistro"])
        product["ema"] = False
        for company in ("labtitular", "labcomercializador"):
            if company in product:
                product[company] += f" {tag}"
        for pack in product["presentaciones"]:
            pack["cn"] = codes[pack["cn"]]
    for presentation in register.presentations.values():
        presentation["nregistro"], presentation["cn"] = number(presentation["nregistro"]), codes[presentation["cn"]]
    return Register(
        products={p["nregistro"]: p for p in register.products.values()},
        presentations={p["cn"]: p for p in register.presentations.values()},
        contents={(kind, number(key)): value for (kind, key), value in register.contents.items()},
        date=register.date,
    )


def child(scene: Scene, die_at: int) -> None:
    """The body of a child process: ends with `DIED` where the point was reached."""
    run_scene(scene, die_at)  # a sink of the scene's own may end the process by itself
