"""A leaflet whose HTML is as hard as editors' tools make it, and the words that a reader must see of it.

The last column is written by hand from what a browser shows of the source, white space as single blanks.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any


def _drawing() -> str:
    """A small real picture: a blue square with a white band."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + (b"\xff\xff\xff" if 24 <= y < 40 else b"\x20\x50\xb0") * 120 for y in range(64))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 120, 64, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


ROWS: tuple[tuple[str, str, str, str], ...] = (
    (
        "1",
        "Qué es Fantasina y para qué se utiliza",
        "<div><p class=MsoNormal style='text-align:justify;color:red'><b>Fantasina</b> contiene "
        "fantasina&nbsp;500&nbsp;mg, que <u>alegra</u> los <em>ensayos</em>.<o:p></o:p></p>"
        "<p>Pertenece al grupo&hellip; de los imaginarios &copy 2026 &lt;sin efecto&gt; &amp; sin riesgo.</p></div>",
        "Fantasina contiene fantasina 500 mg, que alegra los ensayos. "
        "Pertenece al grupo… de los imaginarios © 2026 <sin efecto> & sin riesgo.",
    ),
    ("2", "Qué necesita saber antes de empezar a tomar Fantasina", "<div><p>&nbsp;</p></div>", ""),
    (
        "2.1",
        "No tome Fantasina:",
        '<div><a name="_Toc1"></a><ul type="disc"><li>si es alérgico a la fantasina<li>si tiene menos de 12 '
        "años</ul><div id='marca'></div><p>Consulte a su médico si no está seguro.</p></div>",
        "si es alérgico a la fantasina si tiene menos de 12 años Consulte a su médico si no está seguro.",
    ),
    (
        "2.2",
        "Advertencias <tomar><usar> y precauciones",
        "<div><script>document.title='ran'</script><p onclick=\"document.title='ran'\">Consulte antes de usar."
        "<img src=x onerror=\"document.title='ran'\"></p><iframe src='javascript:parent.document.title=1'></iframe>"
        "<style>p{display:none}</style><b id='abierto'></b><p>No conduzca si bosteza.</p></div>",
        "Consulte antes de usar. No conduzca si bosteza.",
    ),
    (
        "3",
        "Cómo tomar Fantasina",
        "<div xmlns='http://www.w3.org/1999/xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><table id='nada'></table>"
        "<table border=1 cellspacing=0 cellpadding=4><tr><td colspan=2 align=center><b>DOSIS</b></td></tr>"
        "<tr><td>Adultos</td><td>1&nbsp;comprimido cada 8 h</td></tr><tr><td>Niños</td><td></td></tr></table></div>"
        "<p>Dosis máxima: 10<sup>3</sup> mg/m<sub>2</sub>.</p></div>",
        "DOSIS Adultos 1 comprimido cada 8 h Niños Dosis máxima: 103 mg/m2.",
    ),
    (
        "4",
        "Posibles efectos adversos",
        "<div><p><strong>Frecuentes</strong> (hasta 1 de cada 10):<p><font size=2>sonrisas, bostezos</font><p>"
        "<s>Raros</s> <i>insomnio<center>***</center></div>",
        "Frecuentes (hasta 1 de cada 10): sonrisas, bostezos Raros insomnio ***",
    ),
    (
        "5",
        "Conservación de Fantasina",
        f'<div><p>Busque este dibujo:</p><p><img alt="" src="{_drawing()}"></p></div>',
        "Busque este dibujo:",
    ),
    (
        "6",
        "Contenido del envase e información adicional",
        '<div><h3>Composición</h3><ol start="2"><li>fantasina</li><li>almidón</li></ol><p>Véase '
        "<a href='#_Toc1'>la sección 2</a>, <a href='https://cima.invalid/x'>la web</a>.</p></div>",
        "Composición fantasina almidón Véase la sección 2, la web.",
    ),
)  # fmt: skip


def contents() -> list[dict[str, Any]]:
    """As the register answers it."""
    return [
        {"seccion": number, "titulo": title, "orden": place, "contenido": html}
        for place, (number, title, html, _) in enumerate(ROWS, 1)
    ]


def expected() -> list[tuple[str, str]]:
    """Each section's title, and its words; a heading alone says its title again."""
    return [(f"{number}. {title}", words or f"{number}. {title}") for number, title, _, words in ROWS]
