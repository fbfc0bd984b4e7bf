"""A real HAPI FHIR server on this machine, set up as the platform deploys it: for tests, benchmarks and trying out.

    dev/hapi/run                     R5 on PostgreSQL, port 8080, everything forgotten at the end
    dev/hapi/run --release R4 --database h2 --port 8081
    dev/hapi/run --keep ~/hapi       the database stays in this folder

From Python: `with start("R5") as server: … server.url …`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Literal

from dev.hapi.classpath import VERSIONS, NotAvailable, classpath
from dev.hapi.postgres import Postgres, free_port

Release = Literal["R5", "R4"]
Database = Literal["postgres", "h2"]

CONTEXT = {"R5": "/epi/api", "R4": "/ips/api"}
"""Where the platform has the two servers; the FHIR base is `fhir` below."""

READY_WITHIN = 600.0  # seconds; 16–28 on two idle cores, 240 where ten others want them
_DIALECT = "ca.uhn.fhir.jpa.model.dialect.HapiFhir{}Dialect"
_NOT_CONFIGURED = (  # they come with HAPI's dependencies, and would look for a cluster and for templates
    "elasticsearch.ElasticsearchRestClientAutoConfiguration",
    "thymeleaf.ThymeleafAutoConfiguration",
)


class Server:
    """A running server.  `url` is its FHIR base; `log` what it printed.  A context manager that stops it at the end."""

    def __init__(self, release: Release, database: Database, port: int, keep: Path | None) -> None:
        self._release = release
        self._keep = keep
        self.folder = keep or Path(tempfile.mkdtemp(prefix="tsi-fetch-hapi-"))
        self.log = self.folder / "hapi.log"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}{CONTEXT[release]}/fhir"
        self.postgres = Postgres(self.folder / "postgres") if database == "postgres" else None
        self._java: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        """Start database and server, and wait until it answers.  NotAvailable where it ends instead."""
        command = self._command(classpath(self._release))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
        try:
            if self.postgres:
                self.postgres.start()
            self.start_java(command)
        except BaseException:
            self.stop()  # also on Ctrl-C while it starts: neither database nor server may be left behind
            raise
        return self

    def start_java(self, command: list[str] | None = None) -> None:
        """Start HAPI alone; its database runs already."""
        with self.log.open("ab") as log:
            self._java = subprocess.Popen(
                command or self._command(classpath(self._release)), stdout=log, stderr=subprocess.STDOUT
            )
        self._await()

    def stop_java(self, *, kill: bool = False) -> None:
        """End HAPI alone; the database stays.  `kill`: without giving it the time to end what it does."""
        java = self._java
        if java:
            if kill:
                java.kill()
            java.terminate()
            try:
                java.wait(20)
            except subprocess.TimeoutExpired:
                java.kill()
                java.wait()
            if self._java is java:  # somebody else may have stopped it too, and started it again
                self._java = None

    def stop(self) -> None:
        self.stop_java()
        if self.postgres:
            self.postgres.stop()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _command(self, class_path: str) -> list[str]:
        jdbc = self.postgres.jdbc if self.postgres else f"jdbc:h2:mem:{self._release}"
        spring = {
            "server.address": "127.0.0.1",
            "server.port": self.port,
            "server.servlet.context-path": CONTEXT[self._release],
            "spring.datasource.url": jdbc,
            "spring.datasource.username": "postgres" if self.postgres else "sa",
            "spring.datasource.hikari.maximum-pool-size": 10,  # as deployed
            "spring.main.allow-circular-references": "true",  # HAPI's own beans refer to each other
            "spring.main.banner-mode": "off",
            "spring.autoconfigure.exclude": ",".join(
                f"org.springframework.boot.autoconfigure.{name}" for name in _NOT_CONFIGURED
            ),
            "tsi.dialect": _DIALECT.format("Postgres" if self.postgres else "H2"),
            "tsi.narrative": str(self._release == "R5").lower(),  # the platform's ePI server has it, the other not
            "tsi.export": os.environ.get("TSI_HAPI_EXPORT", "false"),
        }
        java = ["java", f"-Xmx{os.environ.get('TSI_HAPI_HEAP', '2g')}", f"-Dtsi.release={self._release}"]
        return [*java, "-cp", class_path, "tsifetch.hapi.Server", *(f"--{k}={v}" for k, v in spring.items())]

    def _await(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not _answers(self.url):
            ended = self._java is None or self._java.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-3000:]
                self.stop_java()
                raise NotAvailable(f"HAPI {'ended' if ended else 'did not answer in time'}:\n{tail}")
            time.sleep(0.3)


def _answers(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/metadata", timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def start(release: Release = "R5", database: Database = "postgres", port: int = 0, keep: Path | None = None) -> Server:
    """A server that answers.  `port` 0: a free one.  `keep`: the folder of a database that outlives the server.

    NotAvailable where Java or Maven is missing, the build fails, or the server ends while starting.
    """
    return Server(release, database, port, keep).start()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev/hapi/run", description="A real HAPI FHIR server as the platform has it.")
    parser.add_argument("--release", choices=list(VERSIONS), default="R5", help="R5: product information (default)")
    parser.add_argument("--database", choices=["postgres", "h2"], default="postgres", help="h2 is in memory")
    parser.add_argument("--port", type=int, default=8080, help="0: a free one")
    parser.add_argument("--keep", type=Path, help="folder for a database that stays; without it all is forgotten")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: database and server with it
    keep = arguments.keep.expanduser().resolve() if arguments.keep else None
    print(f"starting HAPI {VERSIONS[arguments.release]} ({arguments.release}) …", file=sys.stderr)
    try:
        server = start(arguments.release, arguments.database, arguments.port, keep)
    except NotAvailable as e:
        print(e, file=sys.stderr)
        return 69
    except KeyboardInterrupt:
        return 130
    with server:
        print(server.url, flush=True)
        print(f"ready; its log: {server.log}; Ctrl-C ends it", file=sys.stderr)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
