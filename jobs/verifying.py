"""Replay a recording and compare with what is expected: the use in CI.

DIR/expected/resources/Type/id.json    what the folder sink holds after the replay
DIR/expected/report.json               the report, without what differs from run to run
DIR/expected/mapping.json              the version of the mapping that it was accepted with
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.config.load import Configuration
from jobs.running import as_recorded, open_recording, run_into
from jobs.wiring import Asked, scratch_folder, source_class, target
from tsi_fetch.clock import StopSignal
from tsi_fetch.counting import count
from tsi_fetch.errors import Exit, SettingError
from tsi_fetch.fhir.tokens import NotJson, parse
from tsi_fetch.ports import Progress
from tsi_fetch.report import Report

EXPECTED = "expected"
MAPPING = "mapping.json"
"""Beside what is compared: another version that gives the same is no difference, but says something of one."""

STABLE = ("job", "outcome", "exit_code", "counts", "rows", "watermark", "remainder", "quarantined", "reasons", "notes")
"""What a replay of the same recording always says again: no times, no ids of runs."""

_SINCE = re.compile(r"since \d{4}-\d\d-\d\d")
"""Notes and reasons name the day on which this replay's own store first saw a trouble: today."""

MOST_PATHS = 20
"""Changed paths named per file."""

Files = Mapping[str, bytes]
Accept = Callable[[Path, int], None]
"""Hears which folder is about to be replaced, and how many files of it differ."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found.  `differences`: file → what is different about it, never a value."""

    report: Report
    differences: Mapping[str, tuple[str, ...]]
    accepted: bool = False

    @property
    def exit_code(self) -> int:
        return int(Exit.QUARANTINE if self.differences and not self.accepted else Exit.DONE)


def verify(
    configuration: Configuration, asked: Asked, stop: StopSignal, progress: Progress, *, accept: Accept | None = None
) -> Verdict:
    """Replay and compare; with `accept`, which hears of it first, write down what the replay gave.

    SettingError where there is nothing to compare with, or where the replay could not be carried out.
    """
    recording = open_recording(asked)
    asked = as_recorded(asked, recording)
    folder = asked.replay
    assert recording is not None, "a verification replays"
    assert folder is not None
    expected = folder / EXPECTED
    if not accept and not expected.is_dir():
        raise SettingError(
            f"{expected} is not there", f"look at what a replay gives, then tsi-fetch verify {folder} --accept"
        )
    scratch = scratch_folder("verify")
    try:
        to = target(configuration, asked, scratch)
        report = run_into(configuration, asked, to, recording, stop=stop, progress=progress).report
        _usable(report)
        found = _found(scratch / "resources", report)
        differences = dict(_differences(_read(expected), found))
        before, now = _accepted_with(expected), source_class(configuration, asked.job).mapping
        if accept and (differences or before != now):
            accept(expected, len(differences) + (before != now))
            _replace(expected, {**found, MAPPING: f'{{"mapping": {now}}}\n'.encode()})
        if before is not None and any(name.startswith("resources/") for name in differences):
            differences[MAPPING] = (_of_mappings(before, now),)
        return Verdict(report, differences, accept is not None)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _usable(report: Report) -> None:
    """A replay that was stopped, or lacks what it asks for, says nothing about the code."""
    if report.exit_code in (Exit.SETTING, Exit.INTERRUPTED, Exit.TERMINATED):
        reasons = "; ".join(reason.what for reason in report.reasons)
        raise SettingError(f"the replay could not be carried out: {reasons}", "record again, or mend what is named")


def _found(resources: Path, report: Report) -> Files:
    whole = report.to_json()
    stable = json.dumps({name: whole[name] for name in STABLE}, indent=2, ensure_ascii=False)
    files = {"report.json": (_SINCE.sub("since that day", stable) + "\n").encode()}
    return files | {
        f"resources/{path.relative_to(resources).as_posix()}": path.read_bytes() for path in _resources(resources)
    }


def _resources(folder: Path) -> Iterator[Path]:
    """`Type/id.json`, and not the sink's own marker, whose value is random."""
    return (path for path in sorted(folder.glob("*/*.json")) if not path.name.startswith("."))


def _read(expected: Path) -> Files:
    report = expected / "report.json"
    files = {"report.json": report.read_bytes()} if report.is_file() else {}
    resources = expected / "resources"
    return files | {
        f"resources/{path.relative_to(resources).as_posix()}": path.read_bytes() for path in _resources(resources)
    }


def _accepted_with(expected: Path) -> int | None:
    """The mapping's version then; None where nothing was accepted, or before versions were written down."""
    try:
        version = json.loads((expected / MAPPING).read_bytes())["mapping"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        what = f"{expected / MAPPING} cannot be read: {type(e).__name__}"
        raise SettingError(what, "restore it, or delete it") from e
    return version if isinstance(version, int) else None


def _of_mappings(before: int, now: int) -> str:
    if before != now:
        return f"the mapping's version is {now}, and was {before} when this was accepted"
    again = "as when this was accepted: other results of the same answers need a higher one"
    return f"the mapping's version is {now}, {again}"


def _replace(expected: Path, found: Files) -> None:
    """Write the new expectation beside the old one, then let it take its place."""
    new = expected.with_name(f".{EXPECTED}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        for name, body in found.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(body)
        if expected.exists():
            shutil.rmtree(expected)
        os.replace(new, expected)
    except OSError as e:
        raise SettingError(f"{expected} cannot be written: {e.strerror}", "mend the folder's rights") from e


def _differences(expected: Files, found: Files) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield name, ("expected, and not there",)
        elif name not in expected:
            yield name, ("there, and not expected",)
        elif expected[name] != found[name]:
            paths = list(changed(_parsed(expected[name]), _parsed(found[name])))
            more = [f"… and {len(paths) - MOST_PATHS} more"] if len(paths) > MOST_PATHS else []
            yield name, tuple(paths[:MOST_PATHS] + more) or ("only white space or the order of keys",)


def _parsed(body: bytes) -> Any:
    try:
        return parse(body)
    except NotJson:
        return body


def changed(old: Any, new: Any, path: str = "$") -> Iterator[str]:
    """JSON paths at which two values differ; numbers are compared as they are written."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if key in old and key in new:
                yield from changed(old[key], new[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} {'is gone' if key in old else 'is new'}"
    elif isinstance(old, list) and isinstance(new, list):
        for i, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from changed(one, other, f"{path}[{i}]")
        if len(old) != len(new):
            yield f"{path} has {count(len(new), 'entry', 'entries')}, not {len(old)}"
    elif type(old) is not type(new) or _token(old) != _token(new):
        yield path


def _token(value: Any) -> Any:
    return bytes(value) if type(value).__name__ == "Raw" else value


def asked_of(folder: Path, config: Path | None, job: str) -> Asked:
    """What a verification asks: a replay of this folder's own job."""
    return replace(Asked(job, config=config), replay=folder)
