"""What a plan would do to each resource: the first so many of each action, on the disk rather than in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import IO, Any

from tsi_fetch.errors import SettingError
from tsi_fetch.fhir.alterations import alterations
from tsi_fetch.fhir.tokens import NotJson, dump, parse
from tsi_fetch.words import Outcome, Ref, Result, Write

ACTIONS: Mapping[str, str] = {
    "updated": "update",
    "retired": "retire",
    "deleted": "delete",
    "created": "create",
    "waiting": "wait",
    "refused": "refuse",
    "kept": "keep",
    "gone": "gone",
    "older": "older",
    "unchanged": "unchanged",
}
"""By what a report counts, what is listed of each resource; in the order in which it is listed: what touches what is
there comes before what is new."""

SHARING = ("update", "retire", "delete", "create", "wait", "refuse")
"""Actions that share the room of a list, so that many of one do not hide the few of another."""

IN_MEMORY = 1_000_000
"""Bytes of a list that are kept before it goes to a temporary file."""


class Listing:
    """Implements `tsi_fetch.plan.Witness`.  `most`: resources listed; `diff`: with what would change in each."""

    def __init__(self, most: int, *, diff: bool) -> None:
        self._most, self._diff = most, diff
        self._of = {action: _Spool(most) for action in ACTIONS.values()}
        self._told: dict[Ref, dict[str, Any]] = {}

    def wants_body(self) -> bool:
        return self._diff and self._of["update"].has_room

    def would_write(self, write: Write, outcome: Outcome, held: bytes | None) -> None:
        if outcome.result is Result.MISSING and self._of["wait"].has_room:
            self._told[write.ref] = {"waits_for": [str(ref) for ref in outcome.missing]}
        elif outcome.result is Result.UPDATED and self.wants_body():
            self._told[write.ref] = _changes(held, write.body or b"")

    def counted(self, ref: Ref, fate: str, number: int) -> None:
        """List it under what it is counted as; a negative number takes it from the list again."""
        action = ACTIONS.get(fate)
        if action is None:
            return
        told = self._told.pop(ref, {})
        if number < 0:
            self._of[action].take_back(str(ref))
        else:
            self._of[action].add({"resource": str(ref), "action": action, **told})

    def entries(self) -> Iterator[dict[str, Any]]:
        """Those listed, by action: `resource` and `action`; of an update with `--diff` `changes`, of what waits
        `waits_for`.  Numbers are `msgspec.Raw` where a float would change them."""
        room = _shares({action: spool.total for action, spool in self._of.items()}, self._most)
        for action, spool in self._of.items():
            yield from islice(spool.entries(), room[action])

    @property
    def more(self) -> int:
        """Resources that are not listed."""
        total = sum(spool.total for spool in self._of.values())
        return max(0, total - self._most)

    def close(self) -> None:
        for spool in self._of.values():
            spool.close()


def _shares(totals: Mapping[str, int], most: int) -> dict[str, int]:
    """How many of each action are listed, `most` in all: of those that share, as many of each as of any other, as far
    as there are so many; what room is left goes in the order of `totals`."""
    room, left = dict.fromkeys(totals, 0), most
    while left and (wanting := [action for action in SHARING if room[action] < totals[action]]):
        each = max(1, left // len(wanting))
        for action in wanting[:left]:
            more = min(each, totals[action] - room[action])
            room[action] += more
            left -= more
    for action, total in totals.items():
        more = min(left, total - room[action])
        room[action] += more
        left -= more
    return room


def _changes(held: bytes | None, body: bytes) -> dict[str, Any]:
    """What an update would change.  Where the sink holds nothing of it yet, this very plan creates it before."""
    if held is None:
        return {"changes": [], "note": "the sink does not hold it yet: what this plan creates is updated"}
    try:
        found = alterations(held, body)
    except NotJson as e:
        return {"changes": [], "note": f"cannot be compared: {e}"}
    if not found:
        return {"changes": [], "note": "the same content, written again"}
    return {"changes": [one.to_json() for one in found]}


class _Spool:
    """Entries in the order they come, as lines of JSON; after `most` of them they are counted only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._file: IO[bytes] | None = None
        self._written = 0
        self._back: set[str] = set()
        self.total = 0

    @property
    def has_room(self) -> bool:
        return self._written < self._most

    def add(self, entry: Mapping[str, Any]) -> None:
        self.total += 1
        if not self.has_room:
            return
        self._back.discard(entry["resource"])
        self._written += 1
        try:
            if self._file is None:
                self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 — open until `close`
            self._file.write(dump(entry) + b"\n")
        except OSError as e:
            raise SettingError("no temporary file can be written", "mount a writable /tmp, or set TMPDIR") from e

    def take_back(self, resource: str) -> None:
        self.total -= 1
        self._back.add(resource)

    def entries(self) -> Iterator[dict[str, Any]]:
        if self._file is None:
            return
        self._file.seek(0)
        for line in self._file:
            entry = parse(line)
            if entry["resource"] not in self._back:
                yield entry

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
