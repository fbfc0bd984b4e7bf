"""Everything an operator does, where the root file system is read-only and only the store's volume is not.

Needs the right to mount in a namespace of its own (`unshare --mount`), as root in most containers has not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.cima_server import Register, Server
from store.upgrade import upgrade

ROOT = Path(__file__).parents[2]
JOB_FILE = """\
stores: {{main: {{url: "sqlite:///{data}/store.db"}}}}
sinks: {{out: {{kind: folder, path: "{data}/out"}}}}
jobs:
  cima:
    source: {{kind: cima, base_url: "{register}", rate: 50}}
    sink: out
    store: main
    schedule: "30 9 * * *"
"""
READ_ONLY = """\
set -e
mount -t tmpfs volume "$DATA"
mount --bind "$DATA" "$DATA"
awk '{print $2}' /proc/mounts | sort -ru | while read -r at; do
  case "$at" in "$DATA"|/proc|/proc/*|/sys|/sys/*) ;; *) mount -o remount,bind,ro "$at" 2>/dev/null || true ;; esac
done
if touch "$1" 2>/dev/null; then exit 99; fi
printf '99001\\n' > "$DATA/keys"
shift
while [ $# -gt 0 ]; do sh -c "$TSI_FETCH $1" || { echo "$1"; exit 1; }; shift; done
"""
AS_ONE_ROW_IS_BAD = " || [ $? = 65 ]"
COMMANDS = (
    "check cima",
    "run cima --record $DATA/recording" + AS_ONE_ROW_IS_BAD,
    "backfill cima --keys $DATA/keys",
    "backfill start cima --keys $DATA/keys --later",
    "backfill cancel 3 --yes",  # 1 is the first load
    "backfill list",
    "backfill start cima --keys $DATA/keys --workers 2 --store $POSTGRES --sink $DATA/another",
    "quarantine replay cima" + AS_ONE_ROW_IS_BAD,
    "quarantine export $DATA/troubles",
    "quarantine drop 1 --why tried --yes",
    "explain 99001",
    "watermark rewind cima 1d --why tried --yes",
    "plan cima --diff" + AS_ONE_ROW_IS_BAD,
    "watermark reset cima --why tried --yes",
    "export cima $DATA/exported",
    "db backup $DATA/copy.db",
    "db prune --keep 90d --yes",
    "reconcile cima --fix --yes",
    "status",
)
BAD = "1998001001"
"""A product whose row goes to quarantine, as it has no name."""


def _may_mount() -> bool:
    unshare = shutil.which("unshare")
    tried = [unshare or "", "--mount", "mount", "-t", "tmpfs", "trial", "/tmp"]
    return unshare is not None and subprocess.run(tried, capture_output=True).returncode == 0


@pytest.mark.skipif(not _may_mount(), reason="nothing may be mounted here, not even in a namespace of its own")
def test_every_command_works_where_only_the_volume_can_be_written(
    tmp_path: Path, make_database: Callable[[], str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    register = Register.of_folder(ROOT / "tests" / "recorded" / "cima" / "bodies")
    del register.products[BAD]["nombre"]
    upgrade(postgres := make_database())
    with Server(register) as server:
        file = tmp_path / "jobs.yaml"
        file.write_text(JOB_FILE.format(data=data, register=server.base_url))
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "PYTHONPATH": str(ROOT),
            "TSI_FETCH_CONFIG": str(file),
            "TSI_FETCH": f"{sys.executable} -m jobs",
            "DATA": str(data),
            "POSTGRES": postgres,
        }
        command = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(tmp_path / "written"), *COMMANDS]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stdout[-500:] + done.stderr[-500:]
