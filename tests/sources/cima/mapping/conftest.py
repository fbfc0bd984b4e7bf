"""Rows made of bodies: the recorded ones of invented products, changed as a test needs it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest

from tsi_fetch.words import Answer, Row, ScopeClaim

BODIES = Path(__file__).parents[3] / "recorded" / "cima" / "bodies"
BASE = "https://cima.invalid/cima/rest"

Body = Any
MakeRow = Callable[..., Row]


def stored(name: str) -> Body:
    return json.loads((BODIES / f"{name}.json").read_bytes())


@pytest.fixture
def body() -> Callable[[str], Body]:
    """A stored body by its file's name."""
    return stored


@pytest.fixture
def answer() -> Callable[..., Answer]:
    """An answer to a question; None as a body is a 204."""
    return make_answer


def make_answer(part: str, body: Body, url: str = f"{BASE}/x", status: int = 200) -> Answer:
    sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(part, url, 204 if body is None else status, sent, datetime(2024, 5, 1, tzinfo=UTC))


@pytest.fixture
def make_row() -> MakeRow:
    """A product's row, whole: its own body (changed by the arguments), its packs, the texts that its docs name."""

    def make(nregistro: str = "99001", *, texts: dict[int, Body] | None = None, **changes: Body) -> Row:
        name = nregistro.replace(" ", "_")
        product = {**stored(f"medicamento_{name}"), **changes}
        return whole_row(product, texts if texts is not None else {})

    return make


@pytest.fixture
def make_whole_row() -> Callable[[Body, dict[int, Body]], Row]:
    """The same of any product; packs that are not stored are answered with 204."""
    return whole_row


def whole_row(product: Body, texts: dict[int, Body]) -> Row:
    key = product["nregistro"]
    answers = [make_answer("medicamento", product, f"{BASE}/medicamento?nregistro={quote_plus(key)}")]
    for pack in (pack for pack in product.get("presentaciones") or () if "cn" in pack):
        known = (BODIES / f"presentacion_{pack['cn']}.json").exists()
        answers.append(
            make_answer(f"presentacion/{pack['cn']}", stored(f"presentacion_{pack['cn']}") if known else None)
        )
    for doc in product.get("docs") or ():
        if doc["tipo"] in (1, 2) and doc.get("secc"):
            tipo, name = doc["tipo"], f"contenido_{doc['tipo']}_{key.replace(' ', '_')}"
            text = texts[tipo] if tipo in texts else stored(name) if (BODIES / f"{name}.json").exists() else None
            answers.append(make_answer(f"contenido/{tipo}", text))
    return Row(key, tuple(answers), 1_700_000_000_000_000, (ScopeClaim(key, whole=True),))


@pytest.fixture
def samples() -> Path:
    """Recorded answers of the real register; the test is skipped where they are not at hand."""
    folder = os.environ.get("TSI_SAMPLES")
    if not folder:
        pytest.skip("TSI_SAMPLES is not set: no recorded answers of the real register")
    return Path(folder) / "cima"
