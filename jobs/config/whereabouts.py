"""Where the job file is, for those who need no more than that (completing a job's name must not import what checks)."""

from __future__ import annotations

from pathlib import Path

VARIABLE = "TSI_FETCH_CONFIG"
STOCK = Path(__file__).parent.parent / "jobs.yaml"
"""The jobs that ship with the package."""
