"""A small CIMA on this machine: the register's calls over real HTTP, from a folder of bodies.

    python dev/cima_server.py --bodies tests/recorded/cima/bodies --port 8099

or a register at full size, made up from a seed while it is asked (dev/cima/), with nights that pass when told to:

    python dev/cima_server.py --seed 1 --products 25400 --port 8099 --rate 10 --latency 50
    curl -X POST 'http://127.0.0.1:8099/control/night?changes=45'

Then set the job's `base_url` to http://127.0.0.1:8099/cima/rest.  For tests, `Register` answers without a network too;
what it holds may be changed at any time, and `replies` lets it misbehave.  Only the standard library is used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

BASE = "/cima/rest"
MADRID = ZoneInfo("Europe/Madrid")

NOT_LISTED = ("atcs", "principiosActivos", "excipientes", "presentaciones")
"""Members of `medicamento` that a row of the listing lacks."""

FeedOrder = Literal["descending", "ascending", "unsorted"]
Edit = Callable[[str, int, Sequence[Any]], tuple[Sequence[Any], int]]
"""What a page is cut from: of a list's name, the page's number and the true rows it makes the rows and `totalFilas`."""


@dataclass(frozen=True)
class Reply:
    """One answer: status, body and headers beside Date."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json;charset=UTF-8"})


@dataclass
class Register:
    """What the register holds.  `feed` may be in any order: it is given newest first, as CIMA does.

    `date`: the server's clock, None for the real one.  `replies`: per call (`medicamento?nregistro=1`, unquoted),
    answers to give before the true one.  `calls`: every call so far.  `feed_order`: another one; unsorted is the same
    for every page, by `feed_seed`.  `edit`: for lists that are not what they say.
    """

    products: dict[str, Any] = field(default_factory=dict)
    presentations: dict[str, Any] = field(default_factory=dict)
    contents: dict[tuple[int, str], Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    materials: dict[str, Any] = field(default_factory=dict)
    supply: dict[str, Any] = field(default_factory=dict)
    feed: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 200
    feed_order: FeedOrder = "descending"
    feed_seed: int = 0
    edit: Edit | None = None
    date: datetime | None = None
    replies: dict[str, deque[Reply]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of_folder(cls, bodies: Path, **settings: Any) -> Register:
        """Read medicamento_*, presentacion_*, contenido_1_*, contenido_2_*, notas_*, materiales_*, psuministro_*;
        registroCambios.json if it is there."""
        register = cls(**settings)
        for path in sorted(bodies.glob("medicamento_*.json")):
            product = json.loads(path.read_bytes())
            register.products[product["nregistro"]] = product
            name = path.stem.removeprefix("medicamento_")
            for kind in (1, 2):
                content = bodies / f"contenido_{kind}_{name}.json"
                if content.exists():
                    register.contents[kind, product["nregistro"]] = json.loads(content.read_bytes())
            for call, found in (("notas", register.notes), ("materiales", register.materials)):
                body = bodies / f"{call}_{name}.json"
                if body.exists():
                    found[product["nregistro"]] = json.loads(body.read_bytes())
        for path in sorted(bodies.glob("presentacion_*.json")):
            presentation = json.loads(path.read_bytes())
            register.presentations[presentation["cn"]] = presentation
        for path in sorted(bodies.glob("psuministro_*.json")):
            problem = json.loads(path.read_bytes())
            register.supply[problem["cn"]] = problem
        feed = bodies / "registroCambios.json"
        register.feed = json.loads(feed.read_bytes()) if feed.exists() else register.feed
        return register

    def instead(self, call: str, *replies: Reply) -> None:
        """Give these answers to a call first."""
        self.replies.setdefault(call, deque()).extend(replies)

    def answer(self, target: str, accept: str = "application/json") -> Reply:
        """Answer a request line's target (`/cima/rest/medicamento?nregistro=51347`)."""
        call = unquote(target.removeprefix(BASE + "/"))
        with self.lock:
            self.calls.append(call)
            waiting = self.replies.get(call)
            if waiting:
                return waiting.popleft()
        if "xml" in accept and "json" not in accept:
            return Reply(406)
        return self._true(target)

    def _true(self, target: str) -> Reply:
        url = urlsplit(target)
        query = parse_qs(url.query)
        path = [unquote(part) for part in url.path.removeprefix(BASE + "/").split("/")]
        match path:
            case ["medicamentos"]:
                return self._page("medicamentos", [_listed(self.products[nr]) for nr in sorted(self.products)], query)
            case ["registroCambios"]:
                return self._changes(query)
            case ["presentacion", cn]:
                return _or_gone(self.presentations.get(cn))
            case ["psuministro", "v2", "cn", cn]:
                return self._supply(cn)
            case _:
                return self._of_product(path, query.get("nregistro", [""])[0])

    def _of_product(self, path: Sequence[str], nregistro: str) -> Reply:
        match path:
            case ["medicamento"]:
                return _or_gone(self.products.get(nregistro))
            case ["docSegmentado", "contenido", kind]:
                return _or_gone(self.contents.get((int(kind), nregistro)))
            case ["notas"]:
                return _json(self.notes.get(nregistro, []))
            case ["materiales"]:
                return _json(self.materials.get(nregistro, []))
            case _:
                return Reply(404, b"<html><body>404</body></html>", {"Content-Type": "text/html"})

    def _supply(self, cn: str) -> Reply:
        """A problem, or the pack's state where it has none."""
        if cn in self.supply:
            return _json(self.supply[cn])
        pack = self.presentations.get(cn)
        if pack is None:
            return Reply(404, json.dumps({"error": "No existe el código nacional"}).encode())
        return _json({name: pack[name] for name in ("cn", "nombre", "estado", "comerc") if name in pack})

    def _changes(self, query: Mapping[str, Sequence[str]]) -> Reply:
        if "fecha" not in query:
            return _json({"error": "No se ha indicado la fecha"})
        since = datetime.strptime(query["fecha"][0], "%d/%m/%Y").replace(tzinfo=MADRID)
        wanted = set(query.get("nregistro", ()))
        rows = [
            row
            for row in self.feed
            if row.get("fecha", 0) >= since.timestamp() * 1000 and (not wanted or row["nregistro"] in wanted)
        ]
        return self._page("registroCambios", sorted(rows, key=self._place), query)

    def _place(self, row: Mapping[str, Any]) -> tuple[int, bytes]:
        """Where a row of the feed stands."""
        stamp: int = row.get("fecha", 0)
        if self.feed_order == "unsorted":
            return 0, hashlib.sha256(f"{self.feed_seed} {json.dumps(row)}".encode()).digest()
        return (stamp if self.feed_order == "ascending" else -stamp), b""

    def _page(self, name: str, rows: Sequence[Any], query: Mapping[str, Sequence[str]]) -> Reply:
        number, size = int(query.get("pagina", ["1"])[0]), self.page_size
        rows, total = self.edit(name, number, rows) if self.edit else (rows, len(rows))
        some = rows[(number - 1) * size : number * size]
        return _json({"totalFilas": total, "pagina": number, "tamanioPagina": size, "resultados": some})

    def now(self) -> str:
        """The Date header."""
        return format_datetime((self.date or datetime.now(UTC)).astimezone(UTC), usegmt=True)


def _listed(product: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in product.items() if name not in NOT_LISTED}


def _or_gone(value: Any) -> Reply:
    return Reply(204, headers={}) if value is None else _json(value)


def _json(value: Any) -> Reply:
    return Reply(200, json.dumps(value, ensure_ascii=False).encode())


def handler(register: Register, log: Callable[[str], None] | None = None) -> type[BaseHTTPRequestHandler]:
    """A request handler class that answers from the register."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer: else each waits 40 ms for the client's delayed acknowledgement

        def do_GET(self) -> None:
            reply = register.answer(self.path, self.headers.get("Accept", "*/*"))
            self.send_response_only(reply.status)
            self.send_header("Date", register.now())
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            if log:
                log(f"{reply.status} {self.path}")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """Silence: `log` says what is to be said."""

    return Handler


class Server:
    """The register on a port of 127.0.0.1, served by threads, as long as the `with` block lasts."""

    def __init__(self, register: Register, port: int = 0, log: Callable[[str], None] | None = None) -> None:
        self.register = register
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler(register, log))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}{BASE}"

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def options() -> argparse.ArgumentParser:
    """The command line's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bodies", type=Path, help="folder with medicamento_*.json and the others")
    what.add_argument("--seed", type=int, help="of a register that is made up; see dev/cima/")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    parser.add_argument("--page-size", type=int, default=200)
    parser.add_argument(
        "--date",
        type=datetime.fromisoformat,
        help="with --bodies: the server's clock (ISO, with zone); else the real one",
    )
    _made_up_options(parser.add_argument_group("of a register that is made up"))
    return parser


def main() -> None:
    given = options().parse_args()
    if given.bodies is None:
        _serve_made_up(given)
    else:
        register = Register.of_folder(given.bodies, page_size=given.page_size, date=given.date)
        with Server(register, given.port, log=lambda line: print(line, flush=True)) as server:
            print(server.base_url, flush=True)
            threading.Event().wait()


def _made_up_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--products", type=int, default=25_400)
    group.add_argument("--day", type=date.fromisoformat, default=date(2026, 3, 2), help="of night 0")
    group.add_argument("--rate", type=float, default=0, help="requests a second; above it 429. 0: no limit")
    group.add_argument("--latency", type=float, default=0, help="milliseconds until an answer is sent")
    group.add_argument("--etag", action="store_true", help="send ETag, and 304 to If-None-Match")
    group.add_argument("--text-bytes", type=int, default=83_000, help="of a document's text, on average")
    group.add_argument("--changes", type=int, default=45, help="products that change in a night")
    group.add_argument("--night-every", type=int, default=0, help="requests after which a night passes by itself")
    group.add_argument("--workers", type=int, default=1, help="processes that share the port")


def _serve_made_up(given: argparse.Namespace) -> None:
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:  # started as a script
        sys.path.insert(0, root)
    from dev.cima.board import Board
    from dev.cima.generated import Generated, Settings
    from dev.cima.wire import HOST, bound, run

    settings = Settings(
        seed=given.seed,
        products=given.products,
        first_day=given.day,
        page_size=given.page_size,
        etags=given.etag,
        text_bytes=given.text_bytes,
        changes=given.changes,
        night_every=given.night_every,
    )
    register, listening = Generated(settings, Board(given.rate)), bound(given.port)
    print(f"http://{HOST}:{listening.getsockname()[1]}{BASE}", flush=True)
    run(register, listening, latency=given.latency / 1000, workers=given.workers)


if __name__ == "__main__":
    main()
