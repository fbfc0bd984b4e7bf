"""All servers of the world behind one proxy on 127.0.0.1: a register of people, CIMA, and a FHIR server.

Hosts end in `.invalid`, so nothing is reached but through the proxy, which asks for its own credential.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx

from dev.cima_server import Register
from tests.silence.markers import IDENTIFIER, PEOPLE, SECRETS
from tests.sinks.fake_hapi import BASE, INTERACTIONS, FakeHapi, Refusal

REGISTER = "http://register.invalid/register"
CIMA = "http://cima.invalid/cima/rest"
KEYS = (
    "mapped",
    "unmapped",
    "invalid",
    "misnamed",
    "refused",
    "worded",
    "waiting",
    "foreign",
    "twice",
    "page",
    "moved",
)
HTML = {"Content-Type": "text/html"}


@dataclass(frozen=True)
class Said:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def patient(key: str, **members: Any) -> dict[str, Any]:
    """A person whose name and identifier are markers."""
    name = PEOPLE[key]
    return {
        "resourceType": "Patient",
        "id": f"p-{key}",
        "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{name} has a cough</div>'},
        "identifier": [{"system": "urn:people", "value": IDENTIFIER.format(name)}],
        "name": [{"family": name}],
        **members,
    }


def page_of(name: str, echo: str = "") -> bytes:
    """A page for people, which says whom it is about and what it was asked."""
    return f"<html><body>{name} ({IDENTIFIER.format(name)}) {echo}</body></html>".encode()


class People:
    """The register.  It repeats the URL it was asked for, key included, in bodies and in headers.

    `keys`: what the feed names.  `lost`: the feed leads to a login that is down.  `held`: answers wait for it.
    `waits`: one does.  `changed`: the people who are mapped have another name.
    """

    def __init__(self) -> None:
        self.keys: tuple[str, ...] = KEYS
        self.lost = False
        self.changed = False
        self.held: threading.Event | None = None
        self.waits = threading.Event()

    def answer(self, url: str) -> Said:
        if self.held:
            self.waits.set()
            self.held.wait(60)
        path = urlsplit(url).path.removeprefix("/register/")
        headers = {"Content-Type": "application/json", "Link": f'<{url}>; rel="self"', "X-Patient": header()}
        match path.split("/"):
            case ["feed"] if self.lost:
                return Said(302, b"", {"Location": _elsewhere("moved feed")})
            case ["feed" | "list"]:
                return Said(200, json.dumps({"asked": url, "keys": self.keys}).encode(), headers)
            case ["patient", "page"]:
                return Said(500, page_of(PEOPLE["page"], url), HTML)
            case ["patient", "moved"]:
                return Said(302, b"", {"Location": _elsewhere("moved")})
            case ["login", name] if name == PEOPLE["moved feed"]:
                return Said(503, page_of(name), HTML)
            case ["login", _]:
                return _envelope(REGISTER, {}, patient("moved"))
            case ["patient", "mapped"] if self.changed:
                return _envelope(url, headers, patient("mapped", name=[{"family": f"{PEOPLE['mapped']}-Secunda"}]))
            case ["patient", key]:
                return _envelope(url, headers, *_patients(key))
        return Said(404, page_of("nobody"), HTML)


def header() -> str:
    return f"{PEOPLE['answer header']} {IDENTIFIER.format(PEOPLE['answer header'])}"


def _elsewhere(marker: str) -> str:
    """Where a redirect leads: a URL that says too much, as login pages' do."""
    host = REGISTER.replace("//", f"//someone:{SECRETS['redirect password']}@")
    secrets = f"client_secret={SECRETS['redirect secret']}&X-Amz-Signature={SECRETS['redirect signature']}"
    name = PEOPLE[marker]
    return f"{host}/login/{name}?name={name}&id={IDENTIFIER.format(name)}&{secrets}"


def _patients(key: str) -> list[dict[str, Any]]:
    if key == "invalid":
        return [patient(key, birthDate=PEOPLE[key], active=PEOPLE[key])]
    if key == "misnamed":
        return [patient(key, contact=[{"name": PEOPLE[key]}], deceasedBoolean=IDENTIFIER.format(PEOPLE[key]))]
    if key == "waiting":
        return [patient(key, managingOrganization={"reference": "Organization/not-there", "display": PEOPLE[key]})]
    if key == "twice":
        return [patient(key), patient(key, active=True)]
    return [patient(key)]


def _envelope(url: str, headers: Mapping[str, str], *resources: dict[str, Any]) -> Said:
    return Said(200, json.dumps({"asked": url, "resources": resources}).encode(), headers)


class Talkative(FakeHapi):
    """A FHIR server that quotes what it refuses, and the token with it.  `closed`: how it refuses everything."""

    closed: Said | None = None

    def _check(self, entry: dict[str, Any]) -> None:
        super()._check(entry)
        match entry["request"]["url"], entry.get("resource"):
            case "Patient/p-refused", resource:
                token = self.requests[-1].headers["authorization"]
                raise Refusal(422, f"HAPI-0450: Failed to parse {json.dumps(resource)} of {token}")
            case "Patient/p-worded", _:
                raise Refusal(400, f"{PEOPLE['worded']} is refused. {PEOPLE['worded']} has a wrong name")


def fhir_server() -> Talkative:
    """One that takes people, and holds somebody else's version of one."""
    server = Talkative(offers=dict.fromkeys(("Patient", "Device", "Organization", *_OF_CIMA), INTERACTIONS))
    server.put("Patient/p-foreign", name=[{"family": PEOPLE["foreign"]}])
    return server


_OF_CIMA = ("Bundle", "MedicinalProductDefinition", "PackagedProductDefinition", "RegulatedAuthorization")


@dataclass
class Town:
    """Everything that can be reached.  `heard`: request lines and headers, `told`: bodies and headers of answers."""

    people: People
    cima: Register
    fhir: Talkative
    heard: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Said:
        self.heard.append("\n".join([f"{method} {url}", *(f"{k}: {v}" for k, v in headers.items())]))
        said = self._answer(method, url, headers, body)
        self.told.append(f"{body!r}\n{dict(said.headers)}\n{said.body.decode()}")
        return said

    def _answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Said:
        if url.startswith(REGISTER):
            return self.people.answer(url)
        if url.startswith(CIMA):
            parts = urlsplit(url)
            reply = self.cima.answer(f"{parts.path}?{parts.query}")
            return Said(reply.status, reply.body, reply.headers)
        if not url.startswith(BASE):
            return Said(404)
        if self.fhir.closed:
            return self.fhir.closed
        answer = self.fhir.handle(httpx.Request(method, url, headers=dict(headers), content=body))
        return Said(answer.status_code, answer.content, {**dict(answer.headers), "X-Patient": header()})


def proxy(town: Town) -> ThreadingHTTPServer:
    """A server that answers absolute URLs; serve it in a thread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = town.answer(self.command, self.path, dict(self.headers.items()), body)
            self.send_response_only(said.status)
            for name, value in said.headers.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            if said.status != 204:
                self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """The test listens to others."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server
