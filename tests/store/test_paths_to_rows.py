"""What every batch asks goes by an index for each key, however long the tables are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy.sql import ClauseElement

from store.access import _known_by_ident, _refs_by_id
from store.handle import open_store
from store.memory import _scopes_by_key
from store.prepared import Prepared
from store.settling import _open_troubles, _pending_of, _scope_ids
from store.worklists import _done, _open_lists

ASKED: list[tuple[Prepared, str]] = [
    (_known_by_ident(("id",), 1), "(sink=? AND type=? AND ident=?)"),
    (_known_by_ident(("digest",), 3), "(sink=? AND type=? AND ident=?)"),
    (_refs_by_id, "(rowid=?)"),
    (_scopes_by_key, "(job=? AND key=?) (scope=?) (rowid=?)"),
    (_scope_ids, "(job=? AND key=?)"),
    (_pending_of, "(known=?)"),
    (_open_troubles, "(job=? AND stream=? AND key=?)"),
    (_open_lists, "(job=? AND stream=? AND state=?)"),
    (_done, "(list=? AND key=?)"),
]


@pytest.mark.parametrize(("asked", "by"), ASKED)
def test_each_key_is_looked_up(tmp_path: Path, sqlite_template: Path, asked: Prepared, by: str) -> None:
    with open_store(f"sqlite:///{sqlite_template}") as stored, stored.database.read() as conn:
        statement = cast(ClauseElement, asked._statement(conn.dialect))
        compiled: Any = statement.compile(dialect=conn.dialect)
        values = tuple("[]" if (v := compiled.params[name]) is None else v for name in compiled.positiontup)
        plan = [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)]
    steps = [
        step.removesuffix(" LEFT-JOIN")
        for step in plan
        if "VIRTUAL TABLE" not in step and step.startswith(("SEARCH", "SCAN"))
    ]
    assert steps
    assert all(step.startswith("SEARCH") and step[step.rindex("(") :] in by for step in steps), plan
