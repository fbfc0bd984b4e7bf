"""CIMA, whole: the invented register, the folder sink and a store, run night after night as a scheduled job is."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_cima import DAY, cima, register
from still_clock import StillClock

from sinks.folder import Folder, FolderOptions
from store.handle import open_store
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import Known, Ref, RunRecord

WRITTEN = ("created", "updated", "retired", "deleted")
"""Words of a report that mean a version at the sink."""

_JOB, _SINK = "cima", "epi"


class CimaHouse:
    """`removal`: what the job does with what the register no longer has."""

    def __init__(self, folder: Path, removal: str = "retire") -> None:
        self.register, self.clock, self.removal = register(), StillClock(), removal
        self.folder, self._url = folder / "epi", f"sqlite:///{folder / 'store.db'}"
        self._numbers = itertools.count(1)
        if not (folder / "store.db").exists():
            open_store(self._url, create=True).close()

    def copied(self, folder: Path, removal: str) -> CimaHouse:
        """Another one that has lived through the same nights, and goes on elsewhere; of the invented register as it is
        recorded."""
        shutil.copytree(self.folder.parent, folder, dirs_exist_ok=True)
        other = CimaHouse(folder, removal)
        other.clock.move(self.clock.now() - other.clock.now())
        other._numbers = itertools.count(100)
        return other

    def product(self, nregistro: str = "99001") -> Any:
        """What the register holds of it, to be changed."""
        return self.register.products[nregistro]

    def tell(self, *flags: str, nregistro: str = "99001", kind: int = 3) -> None:
        """A row of tomorrow's feed."""
        stamp = int((self.clock.now() + DAY).timestamp() * 1000) - len(self.register.feed)
        row = {"nregistro": nregistro, "fecha": stamp, "tipoCambio": kind, "cambio": list(flags)}
        self.register.feed.append(row)

    def night(self, **settings: Any) -> Report:
        """A day later the job runs; it ends well, and store and sink say the same."""
        report = self.any_night(**settings)
        assert (report.exit_code, report.reasons) == (0, ())
        self.agree()
        return report

    def any_night(self, *, accept_vanish: int = 99, **settings: Any) -> Report:
        """A day later the job runs, however it ends."""
        self.clock.move(DAY)
        self.register.date = self.clock.now()
        self.register.calls.clear()
        return self._run(Settings(_JOB, "", removal=self.removal, accept_vanish=accept_vanish, **settings))

    def troubles(self) -> set[str]:
        """Keys of what lies in quarantine."""
        with open_store(self._url) as stored:
            return {trouble.key for trouble in stored.reader(_JOB, _SINK).troubles()}

    def _run(self, settings: Settings) -> Report:
        run_id = f"run-{next(self._numbers)}"
        with ExitStack() as stack:
            stored = stack.enter_context(open_store(self._url))
            store = stack.enter_context(stored.lease(_JOB, _SINK, run_id, expiry=60, wait=lambda s: None))
            source = stack.enter_context(closing(cima(self.register, self.clock)))
            sink = Folder(FolderOptions(path=self.folder, release="R5"), self.clock, run_id)
            stack.callback(sink.close)
            record = RunRecord(run_id, _JOB, self.clock.now())
            store.begin_run(record)
            report = run_job(Ports(source, sink, store, self.clock), replace(settings, run_id=run_id))
            ended = replace(record, ended=report.ended, outcome=report.outcome, exit_code=report.exit_code)
            store.end_run(replace(ended, report=report.to_json()))
            return report

    def agree(self) -> None:
        """What the store takes for alive or retired is at the sink in the version it remembers, and nothing else is."""
        remembered = {k.ref: k.version for k in self.known().values() if k.state != "deleted"}
        assert remembered == self.versions()

    def known(self) -> dict[Ref, Known]:
        """All that is remembered."""
        with open_store(self._url) as stored:
            book, after = stored.reader(_JOB, _SINK), 0
            found: dict[Ref, Known] = {}
            while page := book.entries(after, 100):
                found |= {entry.known.ref: entry.known for entry in page}
                after = page[-1].number
            return found

    def versions(self) -> dict[Ref, str]:
        """What lies in the folder, with its versions."""
        sink = Folder(FolderOptions(path=self.folder, release="R5"), self.clock)
        return {ref: held.version for ref, held in sink.find(list(self.files())).items()}

    def files(self) -> dict[Ref, bytes]:
        """What lies in the folder, byte for byte."""
        return {Ref(path.parent.name, path.stem): path.read_bytes() for path in self._paths()}

    def _paths(self) -> Iterator[Path]:
        return (path for path in sorted(self.folder.glob("*/*.json")) if not path.name.startswith("."))

    def resource(self, name: str) -> Any:
        """One of them, parsed; KeyError where it is not there."""
        return parse(self.files()[Ref.parse(name)])

    def statuses(self) -> dict[str, str]:
        """By `Type/id`, the code or word by which each says how alive it is; of a Bundle, its Composition's."""
        return {str(ref): _status(parse(body)) for ref, body in self.files().items()}


def _status(resource: Any) -> str:
    if resource["resourceType"] == "Bundle":
        return _status(resource["entry"][0]["resource"])
    if resource["resourceType"] == "Organization":
        return "active" if resource.get("active", True) else "inactive"
    status = resource["status"]
    return status if isinstance(status, str) else str(status.get("coding", [{"code": status.get("text")}])[0]["code"])


def changes(report: Report) -> dict[str, dict[str, int]]:
    """What a run wrote, by type; nothing where it wrote nothing."""
    made = {kind: {w: n for w, n in counts.items() if w in WRITTEN} for kind, counts in report.counts.items()}
    return {kind: counts for kind, counts in made.items() if counts}
