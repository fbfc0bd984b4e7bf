"""Everything that a person can run, on a world that is full of markers."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dev.cima_server import Register, Reply
from tests.silence.listening import Heard, raised, say
from tests.silence.markers import IDENTIFIER, PEOPLE, SECRETS
from tests.silence.town import CIMA, HTML, KEYS, REGISTER, Said, Town, page_of
from tests.sinks.fake_hapi import BASE, outcome

BODIES = Path(__file__).parents[1] / "recorded" / "cima" / "bodies"
LOST = f"postgresql://fetcher:{SECRETS['lost store']}@127.0.0.1:1/none?connect_timeout=2"
DISTORTED = f"postgresql://fetcher:{SECRETS['base store']}@127.0.0.1:1/none"


@dataclass
class Desk:
    """Where the commands are run."""

    folder: Path
    town: Town
    heard: Heard
    postgres: str
    surroundings: Mapping[str, str | None]

    def say(self, *arguments: str, code: int | None = None, outlet: str = "said") -> str:
        got, out = say(self.heard, *arguments, outlet=outlet)
        if code not in (None, got):
            self.heard.surprises.append(f"{' '.join(arguments)} ended with {got}, not {code}")
        return out

    def both(self, *arguments: str, code: int | None = None, outlet: str = "said") -> None:
        """As text and as JSON."""
        self.say(*arguments, code=code, outlet=outlet)
        self.say(*arguments, "--json", code=code, outlet=outlet)

    def into(self, folder: str, *arguments: str, code: int | None = None) -> None:
        """What writes into a folder that is new, as text and as JSON; FOLDER stands for it."""
        for form in ((), ("--json",)):
            there = str(self.folder / f"{'json-' if form else ''}{folder}")
            self.say(*(there if word == "FOLDER" else word for word in arguments), *form, code=code)


def register() -> Register:
    """CIMA, with a marker in a product, in one that is refused, and in a feed row's flag that is no word."""
    of = Register.of_folder(BODIES)
    product, refused = of.products["99001"], of.products["99 003-95-96"]
    product["nombre"] = f"{PEOPLE['product']} {IDENTIFIER.format(PEOPLE['product'])}"
    refused["nombre"], refused["labtitular"] = None, IDENTIFIER.format(PEOPLE["product refused"])
    refused["pactivos"] = PEOPLE["product refused"]
    return of


def job_file(folder: Path, postgres: str) -> str:
    """Four jobs: the register into the FHIR server, with the token in each of its three ways; CIMA into a folder."""
    (folder / "token").write_text(SECRETS["file token"] + "\n")
    source = f'source: {{kind: patients, base_url: "{REGISTER}", api_key: "${{REGISTER_KEY}}"}}'
    rest = 'schedule: "30 9 * * *"'
    return f"""\
stores:
  main: {{url: "sqlite:///{folder}/store.db"}}
  postgres: {{url: "{postgres}"}}
  lost: {{url: "{LOST}"}}
sinks:
  plain: {{kind: fhir, url: "{BASE}", attempts: 1, max_wait: 0, token: "{SECRETS["plain token"]}"}}
  file: {{kind: fhir, url: "{BASE}", attempts: 1, max_wait: 0, token: "${{file:{folder}/token}}"}}
  env: {{kind: fhir, url: "{BASE}", attempts: 1, max_wait: 0, token: "${{EPI_ACCESS}}"}}
  out: {{kind: folder, path: "{folder}/out"}}
jobs:
  plain: {{{source}, sink: plain, store: main, {rest}}}
  file: {{{source}, sink: file, store: main, {rest}}}
  env: {{{source}, sink: env, store: postgres, {rest}}}
  lost: {{{source}, sink: out, store: lost, {rest}}}
  cima: {{source: {{kind: cima, base_url: "{CIMA}", rate: 50, attempts: 1}}, sink: out, store: main, {rest}}}
"""


def good_days(desk: Desk) -> None:
    """Runs that come to their end, with rows that are mapped, refused in every way, waiting, foreign, not fetched."""
    desk.both("jobs", code=0)
    desk.both("db", "upgrade", "--store", desk.postgres, code=0)
    desk.both("plan", "plain")
    desk.say("run", "plain", "--record", str(desk.folder / "tape"), "--log", "text", code=65)
    desk.say("run", "plain", "--log", "json", code=65)
    desk.say("run", "file", "--log", "text", code=65)
    desk.say("run", "env", "--json", code=65)
    desk.say("plan", "plain", "--full", "--again", "--log", "text")
    desk.say("run", "cima", "--record", str(desk.folder / "tape-of-cima"), "--log", "text", code=65)
    stamp = 1773129318000
    desk.town.cima.feed = [{"nregistro": "99001", "fecha": stamp * 2, "tipoCambio": 3, "cambio": [_flag()]}]
    desk.say("run", "cima", "--record", str(desk.folder / "tape-of-feed"), "--json")


def _flag() -> dict[str, str]:
    return {"de": PEOPLE["feed flag"], "id": IDENTIFIER.format(PEOPLE["feed flag"])}


def looking_back(desk: Desk) -> None:
    """What the commands that only look say of it."""
    tape = str(desk.folder / "tape")
    desk.both("run", "plain", "--replay", tape, code=65)
    desk.both("plan", "plain", "--replay", tape)
    desk.say("verify", tape, "--accept", code=0)
    desk.both("verify", tape, code=0)
    [one] = (desk.folder / "tape" / "expected" / "resources").glob("*/*mapped.json")
    one.write_text(one.read_text().replace(PEOPLE["mapped"], "Someone"))
    desk.both("verify", tape, code=65)
    one.unlink()
    desk.both("status", code=None)
    for job in ("plain", "file", "env", "cima"):
        desk.both("status", job, code=0)
        desk.both("runs", job, code=0)
        desk.both("reconcile", job)
        _explained(desk, job)
        desk.into(f"export-of-{job}", "export", job, "FOLDER")
        _every_run(desk, job)
        desk.both("quarantine", "list", "--job", job, "--all", code=0)
        _show(desk, job)
    _differs(desk)
    desk.say("reconcile", "plain", "--fix", "--log", "text")
    desk.say("reconcile", "plain", "--fix", "--yes", "--log", "text")
    _load_again(desk)
    _steer(desk)
    desk.both("check")


def _load_again(desk: Desk) -> None:
    """Everything once more by a backfill, and from the quarantine; and given up, with a reason that says too much."""
    for job in ("plain", "env", "cima"):
        desk.say("backfill", "start", job, "--all", "--again", "--attempts", "1", "--log", "text")
        desk.say("quarantine", "replay", job, "--log", "json")
        desk.say("quarantine", "replay", job, "--json")
    desk.both("backfill", "list", "--job", "plain", code=0)
    listed = json.loads(desk.say("backfill", "list", "--job", "plain", "--json", code=0))["backfills"]
    for number in [str(one["id"]) for one in listed]:
        desk.both("backfill", "show", number, code=75)  # the store that is lost might have one of this number
        desk.both("backfill", "show", number, "--job", "plain", code=0)
        desk.say("backfill", "resume", number, "--log", "json", code=75)
        desk.say("backfill", "resume", number, "--job", "plain", "--log", "json")
        desk.say("backfill", "resume", number, "--job", "plain", "--json")
    _begun_and_given_up(desk)
    listed = json.loads(desk.say("quarantine", "list", "--job", "plain", "--json", code=0))["quarantine"]
    why = f"the server's token is {SECRETS['plain token']} now"
    for entry, form in zip(listed, ("--log=text", "--json"), strict=False):
        given = ("quarantine", "drop", "plain", str(entry["number"]), "--why", why, form)
        desk.say(*given, code=2)
        desk.say(*given, "--yes", code=0)
    desk.both("quarantine", "list", "--job", "plain", "--all", code=0)
    for job in ("plain", "env", "cima"):
        desk.into(f"troubles-of-{job}", "quarantine", "export", "FOLDER", "--job", job, code=0)


def _begun_and_given_up(desk: Desk) -> None:
    """A backfill that is only begun, one worker's share of it, and its end."""
    for form in ("--log=text", "--json"):
        desk.say("backfill", "start", "plain", "--all", "--again", "--attempts", "1", "--later", form, code=0)
        begun = json.loads(desk.say("backfill", "list", "--job", "plain", "--limit", "1", "--json", code=0))
        number = str(begun["backfills"][0]["id"])
        desk.say("backfill", "cancel", number, "--job", "plain", form, code=2)
        desk.say("backfill", "work", number, "--job", "plain", form)
        desk.say("backfill", "start", "plain", "--all", "--again", "--attempts", "1", "--later", "--json", code=0)
        begun = json.loads(desk.say("backfill", "list", "--job", "plain", "--limit", "1", "--json", code=0))
        desk.say("backfill", "cancel", str(begun["backfills"][0]["id"]), "--job", "plain", "--yes", form, code=0)


def _steer(desk: Desk) -> None:
    """By hand, with a reason that says too much."""
    why = f"the server's token is {SECRETS['plain token']} now, the register's key {SECRETS['source key']}"
    for job in ("plain", "env", "cima"):
        desk.both("watermark", "show", job, code=0)
        desk.both("watermark", "rewind", job, "1d", "--why", why, code=2)
        desk.both("watermark", "rewind", job, "1d", "--why", why, "--yes", code=0)
        desk.both("watermark", "set", job, "2026-02-02", "--why", why, code=2)
        desk.say("watermark", "set", job, "2026-02-01", "--why", why, "--yes", "--log", "text", code=0)
        desk.say("watermark", "set", job, "2026-01-01", "--why", why, "--yes", "--json", code=0)
        desk.both("watermark", "reset", job, "--why", why, code=2)
        form = "--log=text" if job == "plain" else "--json"
        desk.say("watermark", "reset", job, "--why", why, "--yes", form, code=0)
        desk.both("audit", job, code=0)
    desk.both("audit", code=75)
    for store in (f"sqlite:///{desk.folder}/store.db", desk.postgres):
        desk.both("db", "prune", "--keep", "1s", "--store", store, code=2)
    desk.into("copy.db", "db", "backup", "FOLDER", "--store", f"sqlite:///{desk.folder}/store.db", code=0)
    for form, copy in (
        ("--log=text", "copy.db"),
        ("--json", "json-copy.db"),
    ):  # what it keeps of runs is searched later
        desk.say("db", "prune", "--keep", "1s", "--store", f"sqlite:///{desk.folder}/{copy}", "--yes", form, code=0)
    desk.say("db", "backup", str(desk.folder / "copy.db"), "--store", desk.postgres, code=2)


def _every_run(desk: Desk, job: str) -> None:
    for run in json.loads(desk.say("runs", "list", job, "--limit", "5", "--json", code=0))["runs"]:
        desk.both("runs", "show", run["run"], code=0)


def _differs(desk: Desk) -> None:
    """What would change, old and new, in words that were asked for."""
    desk.town.people.changed = True
    desk.both("plan", "plain", "--full", "--again", "--diff", outlet="diff")
    desk.town.people.changed = False
    for shell in ("bash", "zsh", "fish"):
        desk.say("completion", shell, code=0)


def _explained(desk: Desk, job: str) -> None:
    """What was written, what waits, and what was refused."""
    listed = json.loads(desk.say("quarantine", "list", "--job", job, "--json", code=0))["quarantine"]
    waits = json.loads(desk.say("status", job, "--json", code=0))["waits"]
    named = {entry["key"] for entry in listed} | {entry["resource"] for entry in listed if entry["resource"]}
    for name in sorted(named | {wait["resource"] for wait in waits}):
        desk.both("explain", name, "--job", job)
        desk.say("explain", name, "--offline")


def _show(desk: Desk, job: str) -> None:
    listed = json.loads(desk.say("quarantine", "list", "--job", job, "--json", code=0))
    for entry in listed["quarantine"]:
        number = str(entry["number"])
        desk.say("quarantine", "show", job, number, code=0, outlet="shown")
        desk.say("quarantine", "show", job, number, "--json", code=0, outlet="shown")


def bad_days(desk: Desk) -> None:
    """Each kind of failure, as text and as JSON."""
    people, fhir = desk.town.people, desk.town.fhir
    people.keys = (*KEYS, "bug")
    _fails(desk, 70, "run", "plain", "--record", str(desk.folder / "tape-of-bug"))
    people.keys = (*KEYS, "mapped2")
    people.lost = True
    _fails(desk, 75, "run", "plain", "--record", str(desk.folder / "tape-of-feed-lost"))
    people.lost = False
    for answer, code in _of_a_sink():
        fhir.closed = answer
        _fails(desk, code, "run", "plain")
        desk.say("check", "--log", "text")
    fhir.closed = None
    before, fhir.resources = fhir.resources, {}
    _fails(desk, 77, "run", "plain")
    fhir.resources, people.keys = before, KEYS
    listing = "medicamentos?pagina=1"
    page = page_of(PEOPLE["sink page"])
    desk.town.cima.replies[listing] = deque(Reply(200, page, HTML) for _ in range(2))
    _fails(desk, 75, "run", "cima", "--full")


def _of_a_sink() -> list[tuple[Said, int]]:
    name, token = PEOPLE["sink page"], SECRETS["plain token"]
    page = page_of(name, f"Authorization: Bearer {token}")
    words = outcome(500, f"{name} {IDENTIFIER.format(name)} sent {token}").content
    version = f"{PEOPLE['sink statement']} {IDENTIFIER.format(PEOPLE['sink statement'])}"
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": version, "rest": [_rest()]}
    leads = {"Location": f"http://other.invalid/{name}?token={token}"}
    return [
        (Said(401, page, {**HTML, "WWW-Authenticate": f'Bearer realm="{name}"'}), 78),
        (Said(200, page, HTML), 78),
        (Said(503, page, {**HTML, "Retry-After": "600"}), 75),
        (Said(500, words), 78),
        (Said(302, page, leads), 78),
        (Said(200, json.dumps(statement).encode()), 78),
    ]


def _rest() -> dict[str, Any]:
    return {"mode": "server", "interaction": [{"code": "transaction"}]}


def _fails(desk: Desk, code: int, *arguments: str) -> None:
    """As text, as JSON, and raised."""
    desk.say(*arguments, "--log", "text", code=code)
    plain = arguments[: arguments.index("--record")] if "--record" in arguments else arguments
    desk.say(*plain, "--log", "json", code=code)
    raised(desk.heard, *plain)


def mistakes(desk: Desk) -> None:
    """What goes wrong before anything is read: the command line, the job file, the store."""
    heard = desk.heard
    for arguments, code in _mistaken(desk):
        desk.say(*arguments, code=code)
        desk.say(*arguments, "--log", "text")
        raised(heard, *arguments)
    for port, code in (("none", 78), ("1", 75)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("http_proxy", f"http://clerk:{SECRETS['proxy']}@127.0.0.1:{port}")
            _fails(desk, code, "run", "cima", "--full")
            desk.say("check", "--json")
    good = (desk.folder / "jobs.yaml").read_text()
    token = SECRETS["plain token"]
    wrong = {
        "misspelt": good.replace("token: ", "tokn: "),
        "no URL": good.replace(f'url: "{BASE}"', f'url: "http://x:{token}@fhir.invalid"'),
        "no number": good.replace("attempts: 1", f'attempts: "{token}"'),
        "no YAML": good.replace(f'"{token}"', f'"{token}'),
        "no source": good.replace("kind: patients", f'kind: patients, x: "{token}"'),
        "no register": good.replace(f'base_url: "{CIMA}"', f'base_url: "http://x:{token}@cima.invalid"'),
        "no schedule": good.replace('schedule: "30 9 * * *"', f'schedule: "{token}"'),
    }
    for name, text in wrong.items():
        file = desk.folder / f"{name.replace(' ', '-')}.yaml"
        file.write_text(text)
        desk.both("check", "--config", str(file), code=78)
        raised(heard, "check", "--config", str(file))


def _mistaken(desk: Desk) -> list[tuple[list[str], int]]:
    out = str(desk.folder / "elsewhere")
    return [
        (["run", "lost"], 75),
        (["run", "plain", "--store", LOST, "--sink", out], 75),
        (["run", "plain", "--store", DISTORTED, "--sink", out], 78),
        (["plan", "plain", "--store", LOST, "--sink", out], 75),
        (["reconcile", "plain", "--store", LOST, "--sink", out], 75),
        (["explain", "x", "--store", LOST], 75),
        (["export", "plain", out, "--store", LOST, "--sink", out], 75),
        (["db", "upgrade", "--store", LOST], 75),
        (["db", "upgrade", "--store", DISTORTED], 78),
        (["run", "plain", "--store", LOST], 2),
        (["run", LOST], 2),
        (["run", "plain", LOST], 2),
        (["run", "plain", "--max-duration", LOST], 2),
        ([LOST], 2),
    ]
