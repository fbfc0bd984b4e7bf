"""The essence of what is known of a resource, or of a row, in a sentence or two: what `explain` says first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.reporting.instants import minute
from tsi_fetch.counting import are, count

Block = Mapping[str, Any]

_NOW = {
    "as written": "and {sink} holds just that",
    "touched": "and {sink} holds the same content, in another version",
    "changed": "but somebody else has written what {sink} holds now",
    "ours": "but {sink} holds what another run of {job} wrote",
    "missing": "but {sink} does not hold it any more",
    "back": "but {sink} holds it again",
    "not there": "and {sink} does not hold it",
    "there": "and what {sink} holds is somebody else's",
}


def essence(block: Block) -> str:
    return " ".join(_of_row(block) if block["kind"] == "row" else _of_resource(block))


def _of_resource(block: Block) -> Iterator[str]:
    resource, job = block["resource"], block["job"]
    if block["state"] is None or block["belief"] == "never written":
        yield f"Nothing of {resource} was ever written by {job}{_there(block)}."
    else:
        yield f"{resource} {_made_from(block)}, {_written(block)}, {_now(block)}."
    if block["begun"]:
        yield "A run began to write it and never said how that ended: the next run looks."
    yield from _troubles(block)
    if block["to_be_removed"]:
        refused = all(removal["refused"] for removal in block["to_be_removed"])
        yield "It was to be removed, which was refused." if refused else "It is to be removed."
    for aside in block["set_aside"][:1]:
        yield f"Backfill {aside['backfill']} could not read its row again, and set that aside."
    if _older(block):
        yield f"An older mapping made it ({block['mapping']}; today's is {block['mapping_today']})."


def _made_from(block: Block) -> str:
    rows, more = block["rows"], block["more_scopes"] + len(block["rows"]) - 1
    if not rows:
        return f"is held by no row of {block['job']}"
    many = "" if block["scopes_counted"] else " or more"
    others = f" and {count(more, 'other')}{many}" if more else ""
    owner = f" (and belongs to {block['job']})" if block["held_by"] != block["job"] else ""
    return f"comes from row {rows[0]}{others} of {block['held_by']}{owner}"


def _written(block: Block) -> str:
    what = {"live": "was last written", "retired": "was retired", "deleted": "was removed"}[block["state"]]
    if block["belief"] == "forgotten":
        what = "was last written (and lost by the sink since)"
    run = block["run"]
    if run is None and block["state"] == "deleted":
        return "is gone, removed by no run that is recorded"
    if run is None:
        return f"{what} by a run that is no longer recorded"
    told = [minute(run["started"]), *(["a replay"] if run["replay"] else [])]
    told += [f"a worker of backfill {run['list']}"] if run["list"] is not None else []
    told += ["which was lost"] if run["outcome"] == "lost" else []
    return f"{what} by run {run['run']} ({', '.join(told)})"


def _now(block: Block) -> str:
    now = block["now"]
    if not now["asked"]:
        return f"and {block['sink']} was not asked"
    if now["verdict"] is None:
        return f"and {block['sink']} could not be asked: {now['trouble']}"
    if block["belief"] == "in doubt":
        decides = ": the next run that reads its row decides" if block["rows"] else ""
        return f"but what {block['sink']} holds by now is in doubt{decides}"
    return _NOW[now["verdict"]].format(**block)


def _there(block: Block) -> str:
    verdict = block["now"]["verdict"]
    return f", {_NOW[verdict].format(**block)}" if verdict in ("there", "not there") else ""


def _troubles(block: Block) -> Iterator[str]:
    for wait in block["waits"][:1]:
        first, more = wait["waits_for"][:1], len(wait["waits_for"]) - 1
        rest = f" and {more:,} more" if more > 0 else ""
        others = len(block["waits"]) - 1
        more_waits = f" (and {others:,} more {'waits' if others == 1 else 'wait'})" if others > 0 else ""
        what = "A change of it" if block["kind"] == "resource" else wait["resource"]
        since = minute(wait["since"])
        yield f"{what} waits for {first[0] if first else 'nothing any more'}{rest}, since {since}{more_waits}."
    lying = [t for t in block["quarantine"] if not t["closed"]]
    for trouble in lying[:1]:
        more_lie = f" (and {len(lying) - 1:,} more)" if len(lying) > 1 else ""
        why = f"{trouble['code']} at {trouble['path'] or '$'}: {trouble['rule']}"
        yield f"In quarantine{more_lie}: {why}."


def _older(block: Block) -> bool:
    mapping, today = block["mapping"], block["mapping_today"]
    return mapping is not None and today is not None and mapping < today


def _of_row(block: Block) -> Iterator[str]:
    key, job, sink, made = block["key"], block["job"], block["sink"], block["resources"]
    lost = [r for r in made if r["belief"] == "forgotten"]
    alive = [r for r in made if r["state"] == "live" or r in lost]
    held = f"{'more than ' if block['more_resources'] else ''}{count(len(made), 'resource')}"
    if not made:
        yield f"Row {key} of {job} holds no resource."
    else:
        gone = f", {len(made) - len(alive):,} of them retired or removed" if len(alive) < len(made) else ""
        gone += f", {len(lost):,} of them lost by {sink} and to be made again" if lost else ""
        yield f"Row {key} of {job} holds {held}{gone}; {_all_now(block)}."
    if dates := sorted(r["run"]["started"] for r in made if r["run"]):
        yield f"The last of them was written at {minute(dates[-1])}."
    if leaving := len(block["to_be_removed"]):
        refused = sum(removal["refused"] for removal in block["to_be_removed"])
        names = {r["resource"] for r in made}
        of_them = all(removal["resource"] in names for removal in block["to_be_removed"])
        what = f"{leaving:,} of them" if of_them else f"{count(leaving, 'resource')} that it no longer gives"
        yield f"{what} {are(leaving)} to be removed{f' ({refused:,} refused)' if refused else ''}."
    yield from _troubles(block)
    if any(s["in_doubt"] for s in block["scopes"]):
        yield "Its answers are to be mapped again when they come."
    if block["still_to_be_read"]:
        yield f"It is still to be read, as part of a {' and a '.join(block['still_to_be_read'])} list."
    for aside in block["set_aside"][:1]:
        yield f"Backfill {aside['backfill']} could not read it, and set it aside."
    if any(_older({**r, "mapping_today": block["mapping_today"]}) for r in made):
        yield "An older mapping than today's made some of it."
    if made and not any(s["job"] == job for s in block["scopes"]):
        yield f"{sink} holds it for another job."


def _all_now(block: Block) -> str:
    sink, made = block["sink"], block["resources"]
    if not made[0]["now"]["asked"]:
        return f"{sink} was not asked"
    if trouble := made[0]["now"]["trouble"]:
        return f"{sink} could not be asked: {trouble}"
    verdicts = Counter(r["now"]["verdict"] for r in made)
    fine = verdicts.pop("as written", 0) + verdicts.pop("not there", 0)
    if not verdicts:
        return f"{sink} holds all of it as written" if fine == len(made) else f"{sink} holds {fine:,} of it"
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(verdicts.items()))
    return f"on {sink} {fine:,} {are(fine)} as written, and {told}"
