"""The benchmark of backfills, at a size at which it says nothing but that it works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_one_worker_and_two_are_measured(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    tiny = "--rows 20 --latency 0 --workers 1,2 --at-once 5".split()
    command = [sys.executable, "-m", "dev.bench_backfill", *tiny, "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "speed-up" in done.stdout
    assert [(one["workers"], one["rows"]) for one in json.loads(file.read_text())] == [(1, 10), (2, 20)]
