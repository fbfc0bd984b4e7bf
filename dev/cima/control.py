"""`/control` of a generated register's server: let nights pass, shift the listing, ask for the truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from urllib.parse import parse_qs, urlsplit

from dev.cima.generated import Generated
from dev.cima_server import Reply

CONTROL = "/control"


def control(register: Generated, method: str, target: str) -> Reply:
    """Answer a call below /control.

    GET /control: night, day, sizes, tallies.  GET /control/truth?nregistro=: see `Truth.shown`.
    POST /control/night[?nights=1][&changes=45][&at_page=7]: nights pass, at once or when that page of the listing is
    asked for; the last night's rows.  POST /control/shift?rows=3[&at_page=7]: the listing turns by so many places.
    """
    url = urlsplit(target)
    query = parse_qs(url.query)
    try:
        match method, url.path.removeprefix(CONTROL).strip("/"):
            case "GET", "":
                return _json(_status(register))
            case "GET", "truth":
                return _json(register.truth(query.get("nregistro", [""])[0]).shown())
            case "POST", "night":
                return _json(_night(register, query))
            case "POST", "shift":
                return _json(_shift(register, query))
            case _:
                return _json({"error": "no such call"}, 404)
    except ValueError as e:
        return _json({"error": str(e)}, 400)


Query = dict[str, list[str]]


def _status(register: Generated) -> dict[str, object]:
    life, settings = register.life, register.settings
    return {
        "seed": settings.seed,
        "products": settings.products,
        "known": len(register.numbers()),
        "day": life.day(life.night).isoformat(),
        **asdict(register.board.tally()),
    }


def _night(register: Generated, query: Query) -> dict[str, object]:
    changes = _number(query, "changes", register.settings.changes)
    if page := _number(query, "at_page", 0):
        register.board.at_page(page, changes=changes)
        return {"at_page": page}
    rows: Sequence[object] = ()
    for _ in range(_number(query, "nights", 1)):
        rows = [register.feed_row(event) for event in register.pass_night(changes)]
    return {"night": register.life.night, "rows": rows}


def _shift(register: Generated, query: Query) -> dict[str, object]:
    rows = _number(query, "rows", 1)
    if page := _number(query, "at_page", 0):
        register.board.at_page(page, rows=rows)
        return {"at_page": page}
    register.board.turn(rows)
    return {"shift": register.board.shift}


def _number(query: Query, name: str, otherwise: int) -> int:
    return int(query[name][0]) if name in query else otherwise


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value, ensure_ascii=False).encode())
