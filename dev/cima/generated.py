"""A register at full size, made up as it is asked: deterministic from its seed, its size and the nights that passed.

Answers like `dev.cima_server.Register` (`answer`, `now`), so that it stands wherever that one does.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from dev.cima.board import Board
from dev.cima.documents import LEAFLET, MEAN, Document, Library
from dev.cima.maestras import master
from dev.cima.nights import FIRST_DAY, USUAL, Event, Life, State
from dev.cima.numbers import LARGEST, owner, registration
from dev.cima.products import Facts, facts, pack_count
from dev.cima.prose import pool
from dev.cima.shown import SITE, Shop
from dev.cima.truth import Truth
from dev.cima_server import BASE, Reply

JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
PDF = b"%PDF-1.4\n%%EOF\n"
FULL_SIZE = 25_400

Query = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Settings:
    """What makes a generated register.  `etags`: answer 304 to If-None-Match, as CIMA's CDN is said to do.

    `text_bytes`: of a text, on average.  `night_every`: after so many requests a night passes by itself, 0 for never.
    """

    seed: int = 1
    products: int = FULL_SIZE
    first_day: date = FIRST_DAY
    page_size: int = 200
    etags: bool = False
    text_bytes: int = MEAN
    changes: int = USUAL
    night_every: int = 0
    site: str = SITE


class Generated:
    """The register of some settings, at the night that its board says."""

    def __init__(self, settings: Settings | None = None, board: Board | None = None) -> None:
        self.settings = settings or Settings()
        if not 0 < self.settings.products <= LARGEST - 3_000:
            raise ValueError(f"products: from 1 to {LARGEST - 3_000}")
        self.board = board or Board()
        self.lock = threading.RLock()
        self._seed = self.settings.seed
        self._library = Library(self._seed, pool(self._seed), self.settings.text_bytes)
        self._shop = Shop(self._seed, self.settings.site)
        self._life = Life(self._seed, self.settings.products, self.settings.first_day)
        self._numbers = {registration(self._seed, p): p for p in range(self.settings.products)}
        self._listing: tuple[int, list[int]] = (-1, [])

    # Its life

    def pass_night(self, changes: int | None = None) -> Sequence[Event]:
        """Let a night pass; the rows that the feed has of it."""
        self.board.add_night(self.settings.changes if changes is None else changes)
        return self.life.events[-1]

    @property
    def life(self) -> Life:
        """The register's life, brought up to the board's night."""
        with self.lock:
            while self._life.night < self.board.nights:
                before = self._life.products
                self._life.pass_night(self.board.changes(self._life.night + 1))
                self._numbers |= {registration(self._seed, p): p for p in range(before, self._life.products)}
            return self._life

    def now(self) -> str:
        """The Date header: noon of the night's day."""
        return format_datetime(self.life.now(), usegmt=True)

    def numbers(self) -> list[str]:
        """All registration numbers that the register knows now, in the listing's order."""
        return [registration(self._seed, product) for product in self._listed()]

    def pack_total(self) -> int:
        """Packs at night 0."""
        return sum(pack_count(self._seed, product) for product in range(self.settings.products))

    def truth(self, nregistro: str) -> Truth:
        """What is so of a product now."""
        product = self._known(nregistro)
        if product is None:
            return Truth(nregistro)
        given, state = facts(self._seed, product), self.life.state(product)
        shown = self._shop.medicine(given, state)
        supply = [self._shop.supply(given, state, place) for place in state.packs]
        kinds = [doc["tipo"] for doc in shown["docs"] if doc["secc"]]
        materials = self._shop.materials(given, state)
        return Truth(
            nregistro,
            exists=True,
            name=given.name,
            holder=given.holder,
            representative=given.representative,
            estado=shown["estado"],
            packs={pack["cn"]: (pack["nombre"], pack["comerc"]) for pack in shown["presentaciones"]},
            documents=tuple(doc["tipo"] for doc in shown["docs"]),
            texts={kind: tuple(self._library.sections(self._document(given, kind))) for kind in kinds},
            notes=tuple(note["referencia"] for note in self._shop.notes(given, state)),
            materials=tuple(f["url"] for m in materials for f in m["listaDocsPaciente"] + m["listaDocsProfesional"]),
            supply={row["cn"]: row["fini"] for row in supply if row.get("activo")},
        )

    # Its answers

    def answer(self, target: str, accept: str = "application/json", known: str = "") -> Reply:
        """Answer a request line's target.  `known`: the value of If-None-Match."""
        number = self.board.count()
        if self.settings.night_every and number % self.settings.night_every == 0:
            self.pass_night()
        url = urlsplit(target)
        if not url.path.startswith(BASE + "/"):
            return _file(url.path)
        if "xml" in accept and "json" not in accept:
            return Reply(406)
        reply = self._rest(url.path.removeprefix(BASE + "/").split("/"), parse_qs(url.query))
        return self._conditional(reply, known) if self.settings.etags and reply.status == 200 else reply

    def _conditional(self, reply: Reply, known: str) -> Reply:
        tag = f'"{hashlib.blake2b(reply.body, digest_size=12).hexdigest()}"'
        if tag in known:
            return Reply(304, headers={"ETag": tag})
        return Reply(200, reply.body, {**reply.headers, "ETag": tag, "Cache-Control": "max-age=1800"})

    def _rest(self, path: Sequence[str], query: Query) -> Reply:
        calls: Mapping[str, Callable[[list[str], Query], Reply | None]] = {
            "medicamentos": self._medicines,
            "registroCambios": self._changes,
            "medicamento": self._medicine,
            "presentacion": self._presentation,
            "docSegmentado": self._text,
            "notas": lambda rest, asked: self._aside(self._shop.notes, rest, asked),
            "materiales": lambda rest, asked: self._aside(self._shop.materials, rest, asked),
            "psuministro": self._supply,
            "maestras": self._master,
        }
        call = calls.get(path[0])
        reply = call([unquote_plus(part) for part in path[1:]], query) if call else None
        return reply or Reply(404, b"<html><body>404</body></html>", {"Content-Type": "text/html"})

    def _medicines(self, _: list[str], query: Query) -> Reply:
        number = _page_number(query)
        self.board.asked_page(number)
        listed = self._listed()
        turned = self.board.shift % max(1, len(listed))
        listed = listed[turned:] + listed[:turned]
        size = self.settings.page_size
        some = [self._shop.listed(*self._at(p)) for p in listed[(number - 1) * size : number * size]]
        return self._paged(number, len(listed), some)

    def _changes(self, _: list[str], query: Query) -> Reply:
        try:
            since = datetime.strptime(_one(query, "fecha"), "%d/%m/%Y").date()  # noqa: DTZ007  a day in Madrid
        except ValueError:
            return _json({"error": "No se ha indicado la fecha"})
        number, size, life = _page_number(query), self.settings.page_size, self.life
        wanted = {self._numbers.get(nr) for nr in query.get("nregistro", ())}
        if wanted:
            since = max(since, life.day(-400))
            rows = [event for event in life.feed(since, 0, 1_000_000)[1] if event.product in wanted]
            return self._page(query, len(rows), [self.feed_row(event) for event in rows])
        total, events = life.feed(since, (number - 1) * size, number * size)
        return self._paged(number, total, [self.feed_row(event) for event in events])

    def feed_row(self, event: Event) -> dict[str, Any]:
        """A row of the feed, with the holder's and the product's name as those of 2026 have them."""
        given = facts(self._seed, event.product)
        row = {"nregistro": given.number, "fecha": self._life.stamp(event), "tipoCambio": event.kind}
        return {**row, "cambio": list(event.flags), "nombre": given.name, "labtitular": given.holder}

    def _medicine(self, _: list[str], query: Query) -> Reply:
        if cn := _one(query, "cn"):
            found = self._pack(cn)
            return _gone() if found is None else _json(self._shop.by_code(*self._at(found[0]), found[1]))
        product = self._known(_one(query, "nregistro"))
        return _gone() if product is None else _json(self._shop.medicine(*self._at(product)))

    def _presentation(self, path: list[str], _: Query) -> Reply | None:
        found = self._pack(path[0]) if len(path) == 1 else None
        return _gone() if found is None else _json(self._shop.pack(*self._at(found[0]), found[1]))

    def _text(self, path: list[str], query: Query) -> Reply | None:
        if len(path) != 2 or path[0] not in ("contenido", "secciones") or path[1] not in ("1", "2"):
            return None
        product, kind = self._known(_one(query, "nregistro")), int(path[1])
        if product is None or kind not in facts(self._seed, product).segmented:
            return _gone()
        if kind == LEAFLET and not self.life.state(product).leaflet:
            return _gone()
        document, content = self._document(facts(self._seed, product), kind), path[0] == "contenido"
        return Reply(200, self._library.body(document, content=content, only=_one(query, "seccion")))

    def _aside(self, shown: Callable[[Facts, State], list[Any]], path: list[str], query: Query) -> Reply:
        product = self._known(path[0] if path else _one(query, "nregistro"))
        return _gone() if product is None else _json(shown(*self._at(product)))

    def _supply(self, path: list[str], _: Query) -> Reply | None:
        if path[:2] != ["v2", "cn"]:
            return None
        if len(path) < 3:
            return _json({"error": "No se ha indicado código nacional"}, 400)
        found = self._pack(path[2])
        if found is None:
            return _json({"error": "El código nacional no existe"}, 404)
        return _json(self._shop.supply(*self._at(found[0]), found[1]))

    def _master(self, _: list[str], query: Query) -> Reply:
        rows = master(_one(query, "maestra"), _one(query, "nombre"))
        return _json({"error": "No existe la maestra"}) if rows is None else self._page(query, len(rows), rows)

    def _page(self, query: Query, total: int, rows: Sequence[Any]) -> Reply:
        number, size = _page_number(query), self.settings.page_size
        return self._paged(number, total, rows[(number - 1) * size : number * size])

    def _paged(self, number: int, total: int, some: Sequence[Any]) -> Reply:
        size = self.settings.page_size
        return _json({"totalFilas": total, "pagina": number, "tamanioPagina": size, "resultados": some})

    # What it is made of

    def _at(self, product: int) -> tuple[Facts, State]:
        return facts(self._seed, product), self.life.state(product)

    def _known(self, nregistro: str) -> int | None:
        product = self._numbers.get(nregistro)
        return product if product is not None and self.life.exists(product) else None

    def _pack(self, cn: str) -> tuple[int, int] | None:
        found = owner(cn)
        if found is None or not self.life.exists(found[0]):
            return None
        return found if found[1] in self.life.state(found[0]).packs else None

    def _document(self, given: Facts, kind: int) -> Document:
        version = self.life.state(given.product).versions.get(kind, 0)
        return Document(given.product, kind, version, given.ema, given.brand, given.substances[0].nombre.capitalize())

    def _listed(self) -> list[int]:
        """All products in the listing's order: by number."""
        with self.lock:
            life = self.life
            if self._listing[0] != life.night:
                spelled = list(self._numbers)  # in the order of the products
                some = sorted(life.alive(), key=spelled.__getitem__)
                self._listing = life.night, some
            return self._listing[1]


def _one(query: Query, name: str) -> str:
    return query.get(name, [""])[0]


def _page_number(query: Query) -> int:
    text = _one(query, "pagina")
    return max(1, int(text)) if text.isdecimal() else 1


def _gone() -> Reply:
    return Reply(204, headers={})


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _file(path: str) -> Reply:
    """Documents and pictures: small ones, all the same."""
    if path.startswith("/cima/pdfs/") or path.startswith("/cima/DocsPub/"):
        return Reply(200, PDF, {"Content-Type": "application/pdf"})
    if path.startswith("/cima/fotos/"):
        return Reply(200, JPEG, {"Content-Type": "image/jpeg"})
    return Reply(404, b"<html><body>404</body></html>", {"Content-Type": "text/html"})
