"""The report as one JSON line: what a pod's log ends with, and what `--json` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def report_line(report: Mapping[str, Any]) -> str:
    """`report` as one line, with the members of a log line in front."""
    level = "error" if report["exit_code"] else "info"
    line = {"event": "report", "level": level, "timestamp": report["ended"], **report}
    return json.dumps(line, ensure_ascii=False, default=str)
