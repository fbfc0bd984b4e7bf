"""How fast the FHIR sink is on a real HAPI server on this machine: ratios of one run, no threshold.

    python -m dev.bench_sink [--resources 3000] [--warm 20000] [--only a,b,c] [--peers] [--json FILE] [--quick]

    a  saturate: transactions that are ready, posted by a minimal loop; the machine's limit
    b  our first load: Observations of 5 KB, and products in the shape of CIMA; with and without validation
    c  our second run, nothing changed        d  one percent changed
    e  GET, compare, PUT in four threads      f  the peers that a registry offers (with --peers)

The server is warmed by our own first load of `--warm` Observations, which (c) and (d) then run over.  Each trial is a
process of its own.  Just before and just after each one (a) is measured anew: the share is that of their mean, as
the speed of the machine drifts.  docs/performance.md says how to read the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dev.bench_peers import PACKAGES, TOOLS
from dev.bench_table import HEAD, Line
from dev.bench_trial import Measured, Trial, source_of
from dev.hapi.server import start

ROOT = Path(__file__).parent.parent
ENTRIES, WRITERS = 100, 2  # the cell of (a) that is the limit
MATRIX = [(entries, writers) for entries in (50, 100, 200) for writers in (1, 2, 4)]
WHOLE = {"resources": 3000, "warm": 20_000}
QUICK = {"resources": 300, "warm": 1000}


class Bench:
    """The trials against one server; `lines` are printed as they come."""

    def __init__(self, url: str, folder: Path, given: argparse.Namespace, new_store: Callable[[], str]) -> None:
        self.url, self.folder, self.given, self.new_store = url, folder, given, new_store
        self.lines: list[Line] = []
        self._numbers = iter(range(1, 10_000))
        self._warm_store = ""

    def run(self) -> None:
        only = self.given.only
        self.warm()
        steps = {"a": self.saturate, "b": self.first, "c": self.unchanged, "d": self.changed, "e": self.by_hand}
        for letter, step in steps.items():
            if letter in only:
                step()
        if "f" in only and self.given.peers:
            self.peers()
        elif "f" in only:
            print("f  skipped: --peers installs them into an environment that is thrown away")

    def warm(self) -> None:
        """Our own first load, which also fills the store of (c) and (d).  Its speed is that of a cold server."""
        self._warm_store = self.new_store()
        trial = self.trial("ours", prefix="warm", resources=self.given.warm, store=self._warm_store, validate="off")
        self.add(Line("   warming", self.child(trial)))

    def saturate(self) -> None:
        for entries, writers in [(ENTRIES, WRITERS)] if self.given.quick else MATRIX:
            found = self.child(self.trial("saturate", entries=entries, writers=writers))
            self.add(Line(f"a  {entries} entries, {writers} writers", found))
        trial = self.trial("saturate")
        self.child(trial)
        self.add(Line("a  the same again, unchanged", self.child(dataclasses.replace(trial, version="1"))))

    def first(self) -> None:
        for kind in self.given.kinds:
            for validate, words in (("off", "not validated"), ("refuse", "validated")):
                trial = self.trial("ours", kind=kind, store=self.new_store(), validate=validate)
                self.against(f"b  {kind}, {words}", trial)

    def unchanged(self) -> None:
        self.over_again("c  unchanged, by the feed", read="everything", batch=1000)
        self.over_again("c  unchanged, by the listing", full=True)
        self.over_again("c  unchanged, mapped anew", read="everything", batch=1000, mapping=2)

    def changed(self) -> None:
        self.over_again("d  one percent changed", read="everything", batch=1000, mapping=2, edition=2)

    def over_again(self, name: str, **differing: Any) -> None:
        """Another run over what the server was warmed with."""
        trial = self.trial("ours", prefix="warm", resources=self.given.warm, store=self._warm_store)
        self.against(name, dataclasses.replace(trial, **differing), again=True)

    def by_hand(self) -> None:
        trial = self.trial("by hand")
        self.against("e  by hand", trial)
        self.against("e  by hand, unchanged", trial, again=True)

    def peers(self) -> None:
        python = self._peers_python()
        for tool in TOOLS:
            file = self.folder / f"{tool}.ndjson"
            writes = (w for row in source_of(self.trial("peer")).writes() for w in row)
            file.write_bytes(b"\n".join(w.body or b"" for w in writes))
            command = [str(python), str(ROOT / "dev" / "bench_peers.py"), tool, self.url, str(file)]
            self.against(f"f  {tool}", partial(measured, command))
            self.against(f"f  {tool}, unchanged", partial(measured, command), again=True)

    def _peers_python(self) -> Path:
        """An environment with the peers, thrown away with the folder: none of them is a dependency of ours."""
        folder = self.folder / "peers"
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        subprocess.run(
            [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *PACKAGES], check=True
        )
        return python

    def trial(self, what: str, **given: Any) -> Trial:
        """A trial of its own: other ids than every other, another run id."""
        number = next(self._numbers)
        plain = {"resources": self.given.resources, "prefix": f"t{number}", "run": f"bench-{number}"}
        return Trial(what, self.url, **{**plain, "entries": ENTRIES, "writers": WRITERS, **given})

    def against(self, name: str, trial: Trial | Callable[[], Measured], *, again: bool = False) -> None:
        """Between two measurements of the limit, of the same kind of resources; `again`: sent to where they are."""
        kind = trial.kind if isinstance(trial, Trial) else "observations"
        before = self.limit(kind, again=again)
        found = self.child(trial) if isinstance(trial, Trial) else trial()
        self.add(Line(name, found, (before + self.limit(kind, again=again)) / 2))

    def limit(self, kind: str, *, again: bool) -> float:
        """Resources a second of (a)."""
        trial = self.trial("saturate", kind=kind)
        found = self.child(trial)
        if again:
            found = self.child(dataclasses.replace(trial, version="1"))
        return found.resources / found.seconds

    def child(self, trial: Trial) -> Measured:
        if self.given.profile and trial.what == "ours":
            trial = dataclasses.replace(trial, profile=str(self.given.profile / f"{trial.run}.prof"))
        given = json.dumps(dataclasses.asdict(trial))
        return measured([sys.executable, "-W", "ignore", "-m", "dev.bench_trial", given])

    def add(self, line: Line) -> None:
        self.lines.append(line)
        for text in line.printed():
            print(text, flush=True)


def measured(command: Sequence[str]) -> Measured:
    """Run a trial in a process of its own; what it says goes wrong ends the benchmark."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a trial ended with {done.returncode}: {' '.join(command)}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def stores(kind: str, folder: Path) -> Iterator[Callable[[], str]]:
    """New, empty stores: files, or databases of a PostgreSQL of their own."""
    numbers = iter(range(1, 1000))
    if kind == "sqlite":
        yield lambda: f"sqlite:///{folder / f'store-{next(numbers)}.db'}"
        return
    from dev.hapi.postgres import Postgres

    server = Postgres(folder / "stores")
    server.start()
    try:
        yield lambda: _database(server.port, f"store{next(numbers)}")
    finally:
        server.stop()


def _database(port: int, name: str) -> str:
    import psycopg

    from store.upgrade import upgrade

    with psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/{name}"
    upgrade(url)
    return url


@contextmanager
def server(given: argparse.Namespace) -> Iterator[str]:
    """The FHIR base: of a server that runs already, of one that only takes, or of a real one."""
    if given.url:
        yield given.url
    elif given.echo:
        command = [sys.executable, "-m", "dev.bench_echo"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield (process.stdout.readline() if process.stdout else "").strip()
            finally:
                process.terminate()
    else:
        print("starting HAPI …", file=sys.stderr)
        with start("R5", "postgres") as running:
            yield running.url


def machine() -> Mapping[str, object]:
    """Where the figures come from: they mean little without it."""
    load = round(os.getloadavg()[0], 1)
    return {"cores": os.cpu_count(), "python": platform.python_version(), "load": load}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resources", type=int, help="of one trial (3000)")
    parser.add_argument("--warm", type=int, help="written before anything is measured, and used by c, d (20000)")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list("abcdef"), help="such as a,b,c")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=["observations", "cima"])
    parser.add_argument("--peers", action="store_true", help="install them, for this run only")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK}, no matrix: to see that it works")
    parser.add_argument("--url", help="a server that runs already, instead of a new one; it is written to")
    parser.add_argument("--echo", action="store_true", help="a server that only takes: what our own side costs")
    parser.add_argument("--profile", type=Path, help="a folder for the profiles of our runs, which slow them down")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    if given.echo:
        given.only = [letter for letter in given.only if letter in "abcd"]
    for name, number in (QUICK if given.quick else WHOLE).items():
        vars(given)[name] = vars(given)[name] or number
    return given


def main() -> None:
    given = arguments()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tsi-fetch-bench-")))
        folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
        new_store = stack.enter_context(stores(given.store, folder))
        bench = Bench(stack.enter_context(server(given)), folder, given, new_store)
        there = machine()
        print(f"{there['cores']} cores, Python {there['python']}, load {there['load']}; store on {given.store}\n")
        print(HEAD)
        bench.run()
    if given.json:
        figures = {"machine": there, "lines": [line.to_json() for line in bench.lines]}
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
