"""A run's record is closed whatever happens, and a report is shown even where that fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.config.load import load_configuration
from jobs.config.secret import Secrets
from jobs.running import recorded, run
from jobs.wiring import Asked, settings_of
from store import queries
from store.handle import open_store
from tsi_fetch.clock import ReplayClock, StopSignal
from tsi_fetch.errors import LeaseLost, SettingError, TryAgain
from tsi_fetch.report import Report, Tally
from tsi_fetch.words import RunRecord

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
CLOCK = ReplayClock(NOW)
RECORD = RunRecord("260302-0930-ab12", "cima", NOW)


def _report() -> Report:
    return Tally("cima", RECORD.id, NOW, plan=False).report(NOW + timedelta(seconds=5))


class _Recorded:
    """A run whose work is given, on a real store."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/store.db"

    def run(self, work: Any, end: Any = None) -> Report:
        with (
            open_store(self.url, create=True) as stored,
            stored.lease("cima", "out", RECORD.id, wait=CLOCK.sleep) as store,
        ):
            return recorded(_Ending(store, end) if end else store, RECORD, CLOCK, work)

    def record(self) -> RunRecord:
        with open_store(self.url) as stored:
            found = queries.run(stored, RECORD.id)
        assert found is not None
        return found.record


class _Ending:
    """A store that fails where a run's record is closed."""

    def __init__(self, inner: Any, error: Exception) -> None:
        self._inner, self._error = inner, error

    def begin_run(self, record: RunRecord) -> None:
        self._inner.begin_run(record)

    def end_run(self, record: RunRecord) -> None:
        raise self._error


def _raise(error: BaseException) -> Any:
    raise error


def test_a_run_that_ends_well_is_recorded_with_its_report(tmp_path: Path) -> None:
    house = _Recorded(tmp_path)
    report = house.run(_report)
    record = house.record()
    assert (record.outcome, record.exit_code, record.ended) == ("done", 0, report.ended)
    assert record.report["run"] == RECORD.id


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (ZeroDivisionError("a body"), "failed", 70),
        (SettingError("no"), "failed", 78),
        (KeyboardInterrupt(), "stopped", 130),
    ],
)
def test_a_run_that_breaks_is_recorded_and_the_error_goes_on(
    tmp_path: Path, error: BaseException, outcome: str, code: int
) -> None:
    house = _Recorded(tmp_path)
    with pytest.raises(type(error)):
        house.run(lambda: _raise(error))
    record = house.record()
    assert (record.outcome, record.exit_code) == (outcome, code)
    assert "a body" not in str(record.report)


def test_a_record_that_cannot_be_closed_makes_the_report_red_and_does_not_hide_it(tmp_path: Path) -> None:
    report = _Recorded(tmp_path).run(_report, end=LeaseLost("another runner holds the job", "look at it"))
    assert (report.outcome, report.exit_code) == ("failed", 75)
    assert report.reasons[-1].what == "the run's record could not be closed: another runner holds the job"


def test_a_worse_code_of_the_run_stays(tmp_path: Path) -> None:
    red = replace(_report(), outcome="failed", exit_code=77)
    report = _Recorded(tmp_path).run(lambda: red, end=TryAgain("the store is down"))
    assert (report.outcome, report.exit_code, len(report.reasons)) == ("failed", 77, 1)


def test_a_bug_is_not_hidden_by_a_store_that_is_down(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        _Recorded(tmp_path).run(lambda: _raise(ZeroDivisionError()), end=TryAgain("the store is down"))


def test_what_was_asked_and_the_jobs_policies_reach_the_loop(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(
        """\
stores: {main: {url: "sqlite:///store.db"}}
sinks: {out: {kind: folder, path: out}}
jobs:
  cima:
    source: {kind: cima}
    sink: out
    store: main
    schedule: "0 1 * * *"
    validate: warn
    on_existing: adopt
    removal: keep
    max_vanish: 0.2
    max_quarantine_age: 2d
    shared: [Organization]
    max_duration: 3h
"""
    )
    configuration = load_configuration(file, environ={})
    asked = Asked("cima", full=True, again=True, accept_vanish=3, accept_refusals=4)
    settings = settings_of(configuration, asked, "r1", plan=True)
    assert (settings.job, settings.run_id, settings.full, settings.again, settings.plan) == (
        "cima",
        "r1",
        True,
        True,
        True,
    )
    assert (settings.accept_vanish, settings.accept_refusals) == (3, 4)
    assert (settings.validate, settings.on_existing, settings.removal) == ("warn", "adopt", "keep")
    assert (settings.max_vanish, settings.max_quarantine_age) == (0.2, timedelta(days=2))
    assert (settings.shared, settings.max_duration) == (frozenset({"Organization"}), timedelta(hours=3))
    shorter = settings_of(configuration, replace(asked, only=("1",), max_duration=timedelta(hours=1)), "r2")
    assert (shorter.only, shorter.max_duration, shorter.plan) == (("1",), timedelta(hours=1), False)


def test_a_replay_waits_for_its_sink_in_earnest(tmp_path: Path) -> None:
    """On the recording's clock a wait ends at once: a busy server would get all attempts within the same second."""
    file = tmp_path / "jobs.yaml"
    file.write_text(
        f"""\
stores: {{main: {{url: "sqlite:///{tmp_path}/x.db"}}}}
sinks: {{epi: {{kind: fhir, url: "http://127.0.0.1:9/epi/api/fhir"}}}}
jobs:
  cima: {{source: {{kind: cima}}, sink: epi, store: main, schedule: "0 1 * * *"}}
"""
    )
    tape = Path(__file__).parents[2] / "jobs" / "recordings" / "cima"
    asked = Asked("cima", config=file, replay=tape, store=f"sqlite:///{tmp_path}/replay.db", sink="epi")
    stop = StopSignal()
    stop.set(15)  # a wait in earnest ends with that
    report = run(asked.configuration(Secrets()), asked, stop, lambda *_: None).report
    assert report.exit_code == 143
