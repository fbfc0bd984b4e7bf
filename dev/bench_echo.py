"""A server that takes every transaction at once and keeps versions only: what is left is what the client costs.

    python -m dev.bench_echo        prints its FHIR base

For profiling our own side, without a Java server beside it that takes the cores.  It answers as a sink needs it, and
checks nothing.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CAPABILITIES = {
    "resourceType": "CapabilityStatement",
    "fhirVersion": "5.0.0",
    "rest": [{"mode": "server", "interaction": [{"code": "transaction"}]}],
}
_PUT = re.compile(rb'"request":\{"method":"PUT","url":"([A-Za-z]+/[A-Za-z0-9\-.]+)"')


class Versions:
    """Which resources were written, and how often; a marker is kept whole, since it is read back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[str, int] = {}
        self._markers: dict[str, bytes] = {}

    def take(self, transaction: bytes) -> bytes:
        entries = []
        with self._lock:
            for found in _PUT.findall(transaction):
                ref = found.decode()
                version = self._versions[ref] = self._versions.get(ref, 0) + 1
                entries.append(_acknowledged(ref, version))
                if ref.startswith("Device/"):
                    self._markers[ref] = transaction
        return b'{"resourceType":"Bundle","type":"transaction-response","entry":[%b]}' % b",".join(entries)

    def read(self, ref: str) -> dict[str, Any] | None:
        with self._lock:
            kept = self._markers.get(ref)
            if kept is None:
                return None
            resources = (entry["resource"] for entry in json.loads(kept)["entry"])
            found: dict[str, Any] = next(r for r in resources if f"{r['resourceType']}/{r['id']}" == ref)
            return {**found, "meta": {"versionId": f"{self._versions[ref]}"}}

    def find(self, kind: str, ids: list[str]) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {"resourceType": kind, "id": ident, "meta": {"versionId": f"{self._versions[f'{kind}/{ident}']}"}}
                for ident in ids
                if f"{kind}/{ident}" in self._versions
            ]


def _acknowledged(ref: str, version: int) -> bytes:
    code = "SUCCESSFUL_CREATE" if version == 1 else "SUCCESSFUL_UPDATE"
    system = "https://hapifhir.io/fhir/CodeSystem/hapi-fhir-storage-response-code"
    issue = {
        "severity": "information",
        "code": "informational",
        "diagnostics": f"Successfully wrote resource {ref}/_history/{version} using update as create.",
        "details": {"coding": [{"system": system, "code": code}]},
    }
    response = {
        "status": "201 Created" if version == 1 else "200 OK",
        "location": f"{ref}/_history/{version}",
        "etag": f"{version}",
        "lastModified": "2026-03-02T08:00:00.000+00:00",
        "outcome": {"resourceType": "OperationOutcome", "issue": [issue]},
    }
    return json.dumps({"response": response}).encode()


def handler(versions: Versions) -> type[BaseHTTPRequestHandler]:
    """A request handler class that answers from these versions."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer

        def do_GET(self) -> None:
            path = self.path.split("?")[0].strip("/")
            found = CAPABILITIES if path == "fhir/metadata" else versions.read(path.removeprefix("fhir/"))
            nothing = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "diagnostics": "HAPI-2001"}]}
            self._answer(200 if found else 404, json.dumps(found or nothing).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not self.path.endswith("/_search"):
                return self._answer(200, versions.take(body))
            kind = self.path.strip("/").split("/")[1]
            ids = re.search(r"(?:^|&)_id=([^&]*)", body.decode())
            found = versions.find(kind, ids[1].split("%2C") if ids else [])
            page = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in found]}
            return self._answer(200, json.dumps(page).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    return Handler


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(Versions()))
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}/fhir", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
