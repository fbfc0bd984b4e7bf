"""What the last batches wrote into a folder: so that a run that was killed before it could remember is recognised.

A FHIR server keeps the id of the request behind `meta.source`; a file has no such place.  Each call of the sink's
`write` has a segment of its own, `.tsi-fetch.journal/<run>.<number>.jsonl`, with a line per file, noted *before* it
takes its place.  Whoever writes settles before the next batch, so all but the last few segments of a run are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from tsi_fetch.words import Ref

FOLDER = ".tsi-fetch.journal"
KEPT = 4  # segments of this run: a batch is written in at most three rounds before it is settled
FORGOTTEN_AFTER = timedelta(days=30)  # what a killed run left, if nobody ever came back to it


class Journal:
    """Notes of one run; reads those of all runs.  Nothing is made on the disk before the first note."""

    def __init__(self, root: Path, run_id: str) -> None:
        self._folder = root / FOLDER
        self._run = run_id
        self._number = 0

    def begin(self) -> None:
        """A new batch: what was written before the last few is settled."""
        self._number += 1
        self._path(self._number - KEPT).unlink(missing_ok=True)

    def note(self, ref: Ref, version: str) -> None:
        """This version of the ref is about to take its place."""
        self._folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"ref": str(ref), "version": version}) + "\n"
        with self._path(self._number).open("a", encoding="utf-8") as segment:
            segment.write(line)

    def runs(self, held: Mapping[Ref, str]) -> dict[Ref, str]:
        """The run that wrote each of these versions, where a run noted it and was not known to have settled it."""
        found: dict[Ref, str] = {}
        for segment in sorted(self._folder.glob("*.jsonl")) if held else ():
            run = segment.name.rsplit(".", 2)[0]
            for line in segment.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    ref = Ref.parse(entry["ref"])
                except (ValueError, KeyError, TypeError):
                    continue  # the line a killed run was writing: its file never took its place
                if held.get(ref) == entry.get("version"):
                    found[ref] = run
        return found

    def settled(self, now: datetime) -> None:
        """The run ends and has settled all it wrote; what others left long ago goes, too."""
        for segment in self._folder.glob("*.jsonl"):
            old = segment.stat().st_mtime < (now - FORGOTTEN_AFTER).timestamp()
            if old or segment.name.rsplit(".", 2)[0] == self._run:
                segment.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._run}.{number}.jsonl"
