"""A first load of CIMA into a real HAPI server, against its two limits: what `--hapi` adds to `dev/bench_cima.py`.

The server is warmed by a load of the same products under other ids.  Then come a load that is not validated and one
that is; before, between and after them both limits are measured: a bare client that asks the URLs of a load, and
ready-made transactions of the same resources.  Each limit is the mean of its two measurements around the load.

`--apart`: the server and its database on one half of the cores, the load and the register on the other, as where they
are machines of their own.  Both limits are then measured so, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dev.bench_cima_trial import Measured, Trial
from dev.cima.wire import GeneratedProcess
from dev.hapi.server import Server, start

Child = Callable[[Trial], Measured]
"""Runs a trial in a process of its own."""

KINDS = {"off": "first load, not validated", "refuse": "first load, validated"}
HEAD = f"{'':30}{'seconds':>9}{'res/s':>7}   CPU s: {'ours':>6}{'server':>8}{'register':>9}{'MB':>6}"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """One trial.  CPU seconds of the server with its database, None where it is not ours, and of the register."""

    name: str
    measured: Measured
    server: float | None
    register: float

    def printed(self) -> str:
        m = self.measured
        rate = f"{m.written / m.seconds:.0f}" if m.written else ""
        server = "" if self.server is None else f"{self.server:.1f}"
        return f"{self.name:30}{m.seconds:9.1f}{rate:>7}{'':10}{m.cpu:6.1f}{server:>8}{self.register:9.1f}{m.rss:6.0f}"


@dataclass(frozen=True)
class Limits:
    """Seconds, each alone: the register's answers, and the server's writes."""

    answers: float
    server: float

    def mean(self, other: Limits) -> Limits:
        return Limits((self.answers + other.answers) / 2, (self.server + other.server) / 2)

    @property
    def slower(self) -> float:
        return max(self.answers, self.server)


@dataclass(frozen=True)
class Load:
    """A first load between its limits."""

    cost: Cost
    limits: Limits

    @property
    def ratio(self) -> float:
        return self.cost.measured.seconds / self.limits.slower

    def printed(self) -> Iterator[str]:
        m = self.cost.measured
        server, answers = m.seconds / self.limits.server, m.seconds / self.limits.answers
        yield f"    {server:.2f} of the server alone, {answers:.2f} of the answers alone"
        shares = sorted(m.phases.items(), key=lambda phase: -phase[1])
        yield "    " + ", ".join(f"{name} {100 * seconds / m.seconds:.0f} %" for name, seconds in shares)
        if m.outcome != "done":
            yield f"    ! {m.outcome}"

    def to_json(self) -> Mapping[str, object]:
        return {**dataclasses.asdict(self), "ratio": self.ratio}


@dataclass
class Bench:
    """The trials against one server.  `processes`: those that are the server's, for their CPU seconds."""

    given: argparse.Namespace
    child: Child
    register: GeneratedProcess
    url: str
    folder: Path
    processes: Callable[[], Collection[int]] = tuple
    loads: list[Load] = field(default_factory=list)
    _number: int = 0

    def run(self) -> list[Load]:
        warm = self._trial()
        self._cost("warming", warm)
        before = self._limits(warm)
        for validate, name in KINDS.items():
            cost = self._cost(name, self._trial(validate=validate))
            after = self._limits(warm)
            self.loads.append(load := Load(cost, before.mean(after)))
            print("\n".join([f"{name}:", *load.printed()]), flush=True)
            before = after
        return self.loads

    def _trial(self, what: str = "run", validate: str = "off") -> Trial:
        """A trial of its own: other ids than every other, a store and a run of its own."""
        self._number += 1
        folder = self.folder / str(self._number)
        folder.mkdir()
        plain = Trial(what, self.register.base_url, str(folder), run=f"bench-{self._number}", url=self.url)
        return dataclasses.replace(
            plain, connections=self.given.connections, validate=validate, ids=f"es-b{self._number:04}"
        )

    def _limits(self, asked: Trial) -> Limits:
        """Both, now; `asked`: the load whose URLs are asked."""
        answers = self._cost("  the answers alone", dataclasses.replace(asked, what="answers"))
        server = self._cost("  the server alone", self._trial("saturate"))
        return Limits(answers.measured.seconds, server.measured.seconds)

    def _cost(self, name: str, trial: Trial) -> Cost:
        server, register = self.processes(), [self.register.process.pid]
        before = spent(server), spent(register)
        found = self.child(trial)
        used = spent(server) - before[0] if server else None
        cost = Cost(name, found, used, spent(register) - before[1])
        print(cost.printed(), flush=True)
        return cost


def measure(given: argparse.Namespace, child: Child) -> list[Load]:
    """Both loads, printed as they come.  `given.hapi_url`: a server that runs already, which is written to."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tsi-fetch-bench-")))
        ours, theirs = halves() if given.apart else (None, None)
        server = None if given.hapi_url else stack.enter_context(_started(theirs))
        stack.enter_context(on_cores(ours))
        asked = {"seed": given.seed, "products": given.hapi_products, "latency": given.latency}
        asked["text-bytes"] = given.text_bytes
        words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
        register = stack.enter_context(GeneratedProcess(*words))
        print(f"\n{given.hapi_products} products into HAPI{', cores apart' if given.apart else ''}\n{HEAD}", flush=True)
        processes = (lambda: processes_of(server)) if server else tuple
        return Bench(given, child, register, server.url if server else given.hapi_url, folder, processes).run()


@contextmanager
def _started(cores: Collection[int] | None) -> Iterator[Server]:
    with on_cores(cores):
        server = start("R5", "postgres")
    with server:
        yield server


def halves() -> tuple[Collection[int], Collection[int]]:
    """Cores for the load and the register, and for the server.  SystemExit where there is but one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("--apart takes two cores")
    middle = len(cores) // 2
    return cores[:middle], cores[middle:]


@contextmanager
def on_cores(cores: Collection[int] | None) -> Iterator[None]:
    """Processes that begin meanwhile have these cores; None: all."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def processes_of(server: Server) -> list[int]:
    """Java, which is a child of this process, and PostgreSQL's first process, which is nobody's."""
    postgres = int((server.folder / "postgres" / "postmaster.pid").read_text().split()[0])
    java = [pid for pid, (name, parent, _) in _table().items() if name == "java" and parent == os.getpid()]
    return [postgres, *java]


def spent(pids: Collection[int]) -> float:
    """CPU seconds of these processes and all below them, those that ended included (proc(5): stat)."""
    table = _table()
    found = set(pids)
    while more := {pid for pid, (_, parent, _) in table.items() if parent in found} - found:
        found |= more
    return sum(table[pid][2] for pid in found if pid in table)


def _table() -> dict[int, tuple[str, int, float]]:
    """Of every process its name, its parent, and the CPU seconds of it and of the children it has waited for."""
    table = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            begin, _, rest = path.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        fields = rest.split()
        pid, name = begin.split(" (", 1)
        table[int(pid)] = name, int(fields[1]), sum(map(int, fields[11:15])) / _TICKS
    return table
