"""What `explain` found, for a person: the essence first, then each fact on a line, then what is not known."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.reporting.instants import minute, second
from tsi_fetch.counting import count

WIDTH = 100
"""Columns where there is no terminal to ask."""

NAMED = 5
"""Of scopes, urls and what is waited for, so many are named."""

LAST_ONLY = "Of each resource the store keeps the last write alone; what was written before is not known."
VERSIONS = "Of each resource the store keeps the last write alone; its versions are what the server still has of them."

Figures = Mapping[str, Any]


def explained_text(found: Figures, *, width: int | None = None) -> str:
    columns = width or shutil.get_terminal_size((WIDTH, 24)).columns
    parts = [_block(block, columns) for block in found["found"]] or [_nothing(found, columns)]
    text = "\n".join("\n".join(lines) + "\n" for lines in parts)
    return text + "".join(f"{line}\n" for line in _troubles(found["troubles"], columns))


def _block(block: Figures, columns: int) -> list[str]:
    lines = _wrapped(block["essence"], columns, "")
    lines.append("")
    for name, values in _facts(block):
        for number, value in enumerate(values):
            lines += _fact(value, columns, f"  {'' if number else name:<11} ")
    if block["kind"] == "row" and block["resources"]:
        lines += ["", *(line for made in _by_need(block["resources"]) for line in _made(made, block, columns))]
        if block["more_resources"]:
            lines.append(f"… and more than these {block['most_resources']:,}")
    lines += ["", *_wrapped(VERSIONS if block.get("versions") else LAST_ONLY, columns, "")]
    if not block.get("quarantine_searched", True):
        lines += _wrapped("So much lies in quarantine that not all of it was searched.", columns, "")
    return [*lines, *_what_to_do(block)]


def _what_to_do(block: Figures) -> Iterator[str]:
    if block["mapping_today"] is None:
        return  # a job that the file does not have cannot be asked for anything
    row = block["key"] if block["kind"] == "row" else next(iter(block["rows"]), None)
    if row is not None:
        job = block.get("held_by", block["job"])
        yield f"  → tsi-fetch plan {job} --only {shlex.quote(row)} --diff   what the source says now"
    made = block["resources"] if block["kind"] == "row" else [block]
    if any(one["now"]["verdict"] in ("changed", "ours", "missing", "back", "touched") for one in made):
        yield f"  → tsi-fetch reconcile {block['job']}   everything that differs on {block['sink']}"


def _by_need(resources: Sequence[Figures]) -> list[Figures]:
    """What is not as it was written comes first."""
    return sorted(resources, key=lambda made: made["now"]["verdict"] in ("as written", "not there"))


def _made(made: Figures, block: Figures, columns: int) -> list[str]:
    """What the sink holds of it, its name, and when it was written."""
    now = made["now"]
    verdict = (now["verdict"] or "?") if now["asked"] else "not asked"
    owner = f" of {made['job']}" if made["job"] != block["job"] else ""
    state = "" if made["state"] == "live" else f"{made['state']}, "
    belief = f" ({made['belief']})" if made["belief"] else ""
    run = made["run"]
    written = f"{minute(run['started'])}, run {run['run']}" if run else "by no run that is recorded"
    return _wrapped(f"  {verdict:<11} {made['resource']}{owner}  {state}{written}{belief}", columns, " " * 14)


def _facts(block: Figures) -> Iterator[tuple[str, Sequence[str]]]:
    yield (
        "source",
        [*_some([f"row {row}" for row in block.get("rows", ())], "rows"), *_some(block["urls"], "addresses")],
    )
    yield "scope", list(_scopes(block))
    if block["kind"] == "resource":
        yield from _of_resource(block)
    yield "waits", [_wait(wait, block) for wait in block["waits"][:NAMED]] or ["no"]
    yield "quarantine", [_trouble(t) for t in block["quarantine"]] or ["no"]
    if block["set_aside"]:
        yield "set aside", [_aside(a, block["job"]) for a in block["set_aside"][:NAMED]]
    leaving = block["to_be_removed"]
    told = [_removal(r) for r in leaving] if block["kind"] == "resource" else list(_removals(leaving))
    yield "removal", told or ["no"]
    yield "history", [f"{minute(e['at'])}  {_event(e)}" for e in block["history"]] or ["nothing is recorded"]
    yield "store", [block["store"]]


def _some(told: Sequence[str], what: str) -> Iterator[str]:
    yield from told[:NAMED]
    if more := len(told[NAMED:]):
        yield f"and {more:,} more {what}"


def _scopes(block: Figures) -> Iterator[str]:
    scopes = block["scopes"]
    for scope in scopes[:NAMED]:
        row = f", of row {scope['key']}" if scope["key"] != scope["scope"] else ""
        doubt = ", to be mapped again" if scope["in_doubt"] else ""
        yield f"{scope['scope']} of {scope['job']}{row}{doubt}"
    more = len(scopes) - len(scopes[:NAMED]) + block.get("more_scopes", 0)
    if more:
        yield f"and {more:,}{'' if block.get('scopes_counted', True) else ' or more'} more"
    if not scopes:
        yield "none holds it"


def _of_resource(block: Figures) -> Iterator[tuple[str, Sequence[str]]]:
    run = block["run"]
    if run:
        ended = run["outcome"] if run["ended"] else f"{run['outcome']}, and never said how it ended"
        how = ", a replay" if run["replay"] else ""
        how += "" if run["list"] is None else f", a worker of backfill {run['list']}"
        yield "run", [f"{run['run']} of {run['job']}, {minute(run['started'])}, {ended}{how}", *_since(block)]
    else:
        yield "run", ["none that is recorded"]
    now = block["now"]
    if block["state"] is not None:
        yield "remembered", [f"{block['state']}, version {block['version'] or 'to be learnt anew'}"]
    yield "now", [_now(now, block)]
    if block["versions"]:
        yield "versions", [_version(version) for version in block["versions"]]
    if block["state"] is not None:
        yield "order", [_order(block)]
        yield "digest", [f"{block['digest']}{' (' + block['belief'] + ')' if block['belief'] else ''}"]
        yield "mapping", [_mapping(block)]


def _since(block: Figures) -> Iterator[str]:
    if block["runs_since"]:
        last = block["last_run"]
        since = f"{count(block['runs_since'], 'run')} of {block['job']} since"
        yield f"{since}, which did not write it; the last: {last['run']}, {minute(last['started'])}, {last['outcome']}"


def _now(now: Figures, block: Figures) -> str:
    if not now["asked"]:
        return f"{block['sink']} was not asked"
    if now["verdict"] is None:
        return f"{block['sink']} could not be asked: {now['trouble']}"
    if now["version"] is None:
        return f"{block['sink']} does not hold it"
    same = "that version" if now["version"] == block["version"] else f"version {now['version']}"
    content = ", with the content that was written" if now["same_content"] else ""
    by = f", written by run {now['written_by_run']}" if now["written_by_run"] else ""
    mine = " (of this job)" if by and now["written_by_us"] else " (none of this store's)" if by else ""
    at = f", at {second(now['last_updated'])}" if now["last_updated"] else ""
    return f"{now['verdict']}: {block['sink']} holds {same}{content}{by}{mine}{at}"


def _version(version: Figures) -> str:
    if version["deleted"]:
        return f"{version['version']}  deleted"
    whose = " (of this job)" if version["written_by_us"] else " (none of this store's)"
    by = f"run {version['run']}{whose}" if version["run"] else "nobody says by whom"
    return f"{version['version']}  {second(version['at']) if version['at'] else 'at no known time'}  {by}"


def _order(block: Figures) -> str:
    if block["order"] is None:
        return "none"
    at = block["order_as_time"]
    return f"{block['order']}, which is {at[:23].replace('T', ' ')} UTC" if at else str(block["order"])


def _mapping(block: Figures) -> str:
    mapping, today = block["mapping"], block["mapping_today"]
    if today is None:
        return f"{mapping}; today's is not known here"
    return f"{mapping}, today's" if mapping == today else f"{mapping}; today's is {today}"


def _wait(wait: Figures, block: Figures) -> str:
    awaited = wait["waits_for"]
    more = f" and {len(awaited) - NAMED:,} more" if len(awaited) > NAMED else ""
    what = f"{wait['resource']} for " if block["kind"] == "row" else "for "
    return f"{what}{', '.join(awaited[:NAMED])}{more}, since {minute(wait['since'])} (row {wait['key']})"


def _trouble(trouble: Figures) -> str:
    what = f" {trouble['resource']}" if trouble["resource"] else ""
    why = f"{trouble['code']} at {trouble['path'] or '$'}: {trouble['rule']}"
    see = f"tsi-fetch quarantine show {trouble['job']} {trouble['number']}"
    opened = minute(trouble["opened"])
    if trouble["closed"]:
        state = f"lay there from {opened} to {minute(trouble['closed'])}: {trouble['why']}; {see}"
    else:
        state = f"open, since {opened}: {see}"
    return f"row {trouble['key']}{what}: {why}; {state}"


def _aside(aside: Figures, job: str) -> str:
    tries = count(aside["attempts"], "try", "tries")
    why = f"row {aside['key']}, by backfill {aside['backfill']} of {minute(aside['begun'])}, after {tries}"
    return f"{why}: {aside['reason']}; tsi-fetch backfill resume {aside['backfill']} --job {job}"


def _stage(removal: Figures) -> str:
    if removal["refused"]:
        return "refused: it lies in quarantine, and a replay or --full tries it again"
    return "past the guard, the next run carries it out" if removal["accepted"] else "not yet past the guard"


def _removal(removal: Figures) -> str:
    left = f"row {removal['key']} of {removal['job']} no longer gives it"
    return f"{left}, since {minute(removal['decided'])}; {_stage(removal)}"


def _removals(removals: Sequence[Figures]) -> Iterator[str]:
    """Of a row: how many, for each of the stages that there are."""
    stages: dict[str, list[str]] = {}
    for removal in removals:
        stages.setdefault(_stage(removal), []).append(removal["decided"])
    for stage, decided in sorted(stages.items(), reverse=True):
        yield f"{len(decided):,} that the row no longer gives, since {minute(min(decided))}; {stage}"


def _event(event: Figures) -> str:
    run = f"run {event['run']}" if event["run"] else "a run"
    return f"{run}{' (replay)' if event['replay'] else ''} {event['what']}"


def _nothing(found: Figures, columns: int) -> list[str]:
    unasked = any(trouble["part"] == "store" for trouble in found["troubles"])
    so_far = ", as far as the stores could be asked" if unasked else ""
    lines = _wrapped(f"Nothing is known of {found['asked']}{so_far}.", columns, "")
    lines += ["", "looked for as a resource (Type/id) and as a row's key, just as it is written, in"]
    for place in found["looked_in"]:
        jobs = ", ".join(place["jobs"]) or "no job that was asked for has run"
        there = jobs if place["there"] else "no store that could be asked"
        lines += _wrapped(f"  {place['store']}: {there}", columns, "    ")
    lines += _wrapped("A resource is named with its type, as in Composition/some-id.", columns, "")
    lines += _wrapped("The source may have it all the same: tsi-fetch plan JOB --only KEY asks it.", columns, "")
    return lines


def _troubles(troubles: Sequence[Figures], columns: int) -> Iterator[str]:
    for trouble in troubles:
        code = f" (exit code {trouble['code']})" if trouble["part"] != "source" else ""
        yield from _wrapped(f"✗ {trouble['part']} {trouble['name']}: {trouble['why']}{code}", columns, "  ")
        offline = "; --offline leaves the sink out" if trouble["part"] == "sink" else ""
        if trouble["hint"]:
            yield from _wrapped(f"  → {trouble['hint']}{offline}", columns, "    ")


def _fact(value: str, columns: int, name: str) -> list[str]:
    """Under its name; a URL or a version is never broken, since it is copied from here."""
    indent = " " * len(name)
    options: dict[str, Any] = {"break_on_hyphens": False, "break_long_words": False}
    return textwrap.wrap(value, columns, initial_indent=name, subsequent_indent=indent, **options) or [name.rstrip()]


def _wrapped(line: str, columns: int, indent: str) -> list[str]:
    return textwrap.wrap(line, columns, subsequent_indent=indent, break_on_hyphens=False, break_long_words=True) or [""]
