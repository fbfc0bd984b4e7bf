"""Paragraphs of the generated register's texts, with the HTML that CIMA's editors leave behind.

A paragraph is kept twice: as it stands inside a JSON string (UTF-8, escaped), ready to be joined, and as the words that
a reader sees, without any white space.  The brand's name and the substance's stand for two control characters, which
are replaced in a whole text at once.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from random import Random

from dev.cima.chance import dice

BRAND, SUBSTANCE = "\x01", "\x02"
PARAGRAPHS = 2_400
"""In the pool; its size is part of every text: another number gives other texts."""

_SUBJECTS = (
    f"El tratamiento con {BRAND}", f"La administración de {SUBSTANCE}", "La dosis recomendada", f"El uso de {BRAND}",
    "La concentración plasmática", f"La eficacia de {SUBSTANCE}", "El ajuste de la pauta", "La frecuencia observada",
    "El riesgo de acumulación", "La respuesta clínica", f"La eliminación de {SUBSTANCE}", "El intervalo entre tomas",
    "La experiencia en niños", "El cuidado de la función renal", "La duración total", "La vigilancia médica",
)  # fmt: skip
_VERBS = (
    "debe valorarse en", "no se ha estudiado en", "puede aumentar en", "se mantuvo estable en", "requiere atención en",
    "disminuye ligeramente en", "es comparable en", "ha de interrumpirse en", "se recomienda únicamente en",
    "no precisa cambios en", "se ha descrito raramente en", "depende sobre todo de",
)  # fmt: skip
_OBJECTS = (
    "pacientes de edad avanzada", "personas con insuficiencia hepática moderada", "niños menores de 12 años",
    "mujeres en periodo de lactancia", "pacientes que toman diuréticos", "el estado general del paciente",
    "los pacientes con hipersensibilidad conocida", "adultos con un peso inferior a 50 kg", "la vía elegida",
    "los ensayos con más de 300 participantes", "quienes reciben anticoagulantes orales", "la primera semana",
)  # fmt: skip
_ENDS = (
    "", ", según criterio médico", " (ver sección 4.4)", ", con una frecuencia < 1/1.000", " durante al menos 14 días",
    ", sin superar 4 g al día", " y a una temperatura ≥ 25 ºC", "; los síntomas suelen ser leves",
    " (n = 128; p < 0,05)", ", lo que equivale a un 30 % de la dosis", " \u2013 véase también el prospecto",
    ", con comidas & bebidas no alcohólicas",
)  # fmt: skip
_STYLES = (
    ' class="MsoNormal" style="margin: 0cm 0cm 0pt; text-align: justify; line-height: normal;"',
    ' style="margin-top:0cm;margin-bottom:6.0pt;font-size:11.0pt;font-family:&quot;Times New Roman&quot;,serif"',
    ' class="Default" style="text-indent:-14.2pt;mso-list:l0 level1 lfo1"',
    ' align="justify"',
    "",
)
_SPANS = (
    ' lang="ES" style="font-size:11pt;font-family:Arial;mso-ansi-language:ES"',
    ' style="color:black; background-color:white"',
    ' style="font-size:10.0pt"',
    "",
    "",
)
_LARGEST_IMAGE = 24_000  # bytes before base64


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a section: as it stands in a JSON string, and its visible letters."""

    sent: bytes
    seen: str


@dataclass(frozen=True, slots=True)
class Pool:
    """What sections are made of.  `mean`: bytes of a piece as `some` chooses them."""

    pieces: Sequence[Piece]
    empties: Sequence[Piece]
    mean: float

    def some(self, rng: Random, count: int) -> list[Piece]:
        return rng.choices(self.pieces, k=count)


def letters(text: str) -> str:
    """A text without white space of any kind."""
    return re.sub(r"\s+", "", text)


def in_json(text: str) -> bytes:
    """A text as it stands between the quotes of a JSON string; the two stand-ins stay as they are."""
    inner = json.dumps(text, ensure_ascii=False)[1:-1]
    return inner.replace("\\u0001", BRAND).replace("\\u0002", SUBSTANCE).encode()


def pool(seed: int) -> Pool:
    """The pieces of a seed: some 1.5 MB."""
    rng = dice(seed, "prose")
    makers: Sequence[Callable[[Random], Piece]] = (_paragraph, _list, _table, _heading, _unclosed, _image, _definition)
    chosen = rng.choices(makers, weights=(70, 9, 5, 8, 4, 1.2, 2.8), k=PARAGRAPHS)
    pieces = [maker(rng) for maker in chosen]
    empties = [
        _piece(html, "")
        for html in ("<p>&nbsp;</p>", "<p> </p>", "<p><span> </span></p>", "", "<p><o:p>&nbsp;</o:p></p>")
    ]
    return Pool(pieces, empties, sum(len(piece.sent) for piece in pieces) / len(pieces))


def _piece(html: str, seen: str) -> Piece:
    return Piece(in_json(html), letters(seen))


def sentence(rng: Random) -> str:
    text = f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}{rng.choice(_ENDS)}."
    return text if rng.random() < 0.7 else text.replace(" ", "\u00a0", 1)


def _written(rng: Random, text: str) -> str:
    """A text as HTML: characters, entities, and spans that break off in the middle of it."""
    html = escape(text, quote=rng.random() < 0.3).replace("\u00a0", rng.choice(("&nbsp;", "\u00a0", "&#160;")))
    if rng.random() < 0.1:
        html = html.replace("ó", "&oacute;").replace("\u2013", "&ndash;")
    cut = html.find(" ", len(html) // 2)
    if rng.random() < 0.5 and cut > 0 and "<" not in html:
        return f"<span{rng.choice(_SPANS)}>{html[:cut]}</span><span{rng.choice(_SPANS)}>{html[cut:]}</span>"
    return f"<span{rng.choice(_SPANS)}>{html}</span>"


def _paragraph(rng: Random) -> Piece:
    texts = [sentence(rng) for _ in range(rng.choice((1, 1, 2, 2, 3, 4)))]
    words = [_written(rng, text) for text in texts]
    if rng.random() < 0.2:
        tag = rng.choice(("strong", "em", "u", "b", "i"))
        words[0] = f"<{tag}>{words[0]}</{tag}>"
    tail = rng.choice(("", "", "<o:p></o:p>", "<span></span>", "<br>", "<br />&nbsp;"))
    return _piece(f"<p{rng.choice(_STYLES)}>{' '.join(words)}{tail}</p>", "".join(texts))


def _heading(rng: Random) -> Piece:
    text = rng.choice(_OBJECTS).capitalize()
    return _piece(f"<p{rng.choice(_STYLES)}><u>{_written(rng, text)}</u></p><p>&nbsp;</p>", text)


def _list(rng: Random) -> Piece:
    texts = [sentence(rng) for _ in range(rng.randint(2, 6))]
    closed = "" if rng.random() < 0.2 else "</li>"  # as it is left open now and then
    items = "".join(f'<li class="MsoNormal">{_written(rng, text)}{closed}' for text in texts)
    return _piece(f'<ul type="disc" style="margin-top:0cm">{items}</ul>', "".join(texts))


def _table(rng: Random) -> Piece:
    columns = rng.randint(2, 4)
    rows = [[_cell(rng) for _ in range(columns)] for _ in range(rng.randint(2, 8))]
    body = "".join(f"<tr>{''.join(_written_cell(rng, cell) for cell in row)}</tr>" for row in rows)
    head = (
        f'<tr><td colspan="{columns}" valign="top"><p align="center"><b>{_OBJECTS[columns].upper()}</b></p></td></tr>'
    )
    html = f'<table border="1" cellspacing="0" cellpadding="0" class="MsoTableGrid">{head}{body}</table>'
    return _piece(html, _OBJECTS[columns].upper() + "".join(cell for row in rows for cell in row))


def _cell(rng: Random) -> str:
    return rng.choice(
        (
            f"{rng.randint(1, 999) / 10:.1f} %".replace(".", ","),
            f"≥ 1/{10 ** rng.randint(1, 4)}",
            rng.choice(_OBJECTS),
            "\u00a0",
        )
    )


def _written_cell(rng: Random, text: str) -> str:
    return f'<td width="{rng.randint(40, 240)}" style="border-top:none;padding:0cm 5.4pt">{escape(text)}</td>'


def _unclosed(rng: Random) -> Piece:
    """Paragraphs that begin while another one is open, and one that nobody closed."""
    texts = [sentence(rng) for _ in range(2)]
    return _piece("".join(f"<p>{escape(text)}" for text in texts) + "<hr>", "".join(texts))


def _definition(rng: Random) -> Piece:
    name, value = rng.choice(_OBJECTS).capitalize(), sentence(rng)
    return _piece(f"<h3>{name}</h3><font size='2'>{escape(value)}</font><center>***</center>", f"{name}{value}***")


def _image(rng: Random) -> Piece:
    data = base64.b64encode(rng.randbytes(min(_LARGEST_IMAGE, int(800 * rng.paretovariate(1.1))))).decode()
    return _piece(f'<p><img src="data:image/jpg;base64,{data}" alt="" width="{rng.randint(60, 600)}"></p>', "")


def joined(pieces: Iterable[Piece]) -> tuple[bytes, str]:
    """Pieces as one text: what is sent, and what is seen."""
    some = list(pieces)
    return b"".join([piece.sent for piece in some]), "".join([piece.seen for piece in some])
