"""A register of products each of which has one answer changed, a run over it, and what must hold of every one."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from fake_cima import BASE_URL, changed, register
from memory_sink import MemorySink
from still_clock import StillClock

from dev.cima_server import Register, Reply
from sinks.folder import Folder, FolderOptions
from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from store import queries
from store.handle import open_store
from tests.hostile.mutations import PLANTED, Mutation, mutated, written
from tests.hostile.pointing import at, offending, pointed, refused_part, same, within
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.http.limit import SteadyPace
from tsi_fetch.ports import Sink
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import Quarantined, Ref, RunRecord, Upsert

AT_ONCE = 18
"""Products of one run: fewer than may be refused before a guard ends it."""

DAY = "2026-03-02"
TEMPLATES = ("99001", "1998001001", "99 003-95-96")
FLAGS = ("notasSeguridad", "matinf", "psum")
Tree = Any


@dataclass
class Product:
    """One product, invented for one trial, and what is said instead of one of its answers."""

    trial: int
    number: str
    answers: dict[str, Tree]  # by call
    call: str
    mutation: Mutation

    def __str__(self) -> str:
        return f"trial {self.trial} ({self.number}), {self.call}: {self.mutation}"


def product_of(trial: int) -> Product:
    """The product of a trial: the same for the same number, whatever else is tried."""
    rng = random.Random(f"hostile {trial}")
    template = rng.choice(TEMPLATES)
    number = f"1{trial:09d}" if template == "1998001001" else f"{template[:3]}x{trial}"
    answers = _answers(template, number, trial)
    call = _call(rng, list(answers))
    return Product(trial, number, answers, call, mutated(rng, answers[call]))


def _call(rng: random.Random, calls: list[str]) -> str:
    """Which answer is changed: half of all trials change the product's own, since most is in it; the other kinds have
    the same share of the rest, however many of a kind there are."""
    if rng.random() < 0.5:
        return calls[0]
    kind = rng.choice(sorted({kind_of(call) for call in calls}))
    return rng.choice([call for call in calls if kind_of(call) == kind])


_REGISTER = register()


def _answers(template: str, number: str, trial: int) -> dict[str, Tree]:
    """The answers to every call that the product takes, under a number and national codes of its own."""
    product = deepcopy(_REGISTER.products[template])
    product["nregistro"] = number
    answers = {f"medicamento?nregistro={number}": product}
    for index, pack in enumerate(product["presentaciones"]):
        own = deepcopy(_REGISTER.presentations[pack["cn"]])
        pack["cn"] = own["cn"] = f"{trial:07d}{index}"
        own["nregistro"] = number
        answers[f"presentacion/{own['cn']}"] = own
    for kind in (1, 2):
        if (kind, template) in _REGISTER.contents:
            sections = deepcopy(_REGISTER.contents[kind, template])
            answers[f"docSegmentado/contenido/{kind}?nregistro={number}"] = sections
    return answers | _beside(product, number)


def _beside(product: Tree, number: str) -> dict[str, Tree]:
    """What the product's flags ask for: notes, materials, and of its packs whether they can be had."""
    product.update(notas=True, materialesInf=True, psum=True)
    notes, materials = deepcopy(_REGISTER.notes["99001"]), deepcopy(_REGISTER.materials["99001"])
    answers: dict[str, Tree] = {f"notas?nregistro={number}": notes, f"materiales?nregistro={number}": materials}
    for index, pack in enumerate(product["presentaciones"]):
        problem = {**_REGISTER.supply["999102"], "nombre": pack["nombre"]} if index == 0 else pack
        answers[f"psuministro/v2/cn/{pack['cn']}"] = {**deepcopy(problem), "cn": pack["cn"]}
    return answers


def kind_of(call: str) -> str:
    """The word that a call begins with; that of a document's text is its second."""
    return call.removeprefix("docSegmentado/").partition("?")[0].partition("/")[0]


def part_of(call: str) -> str:
    """The part of a row's answers that this call gives."""
    return call.partition("?")[0].removeprefix("docSegmentado/").replace("psuministro/v2/cn/", "psuministro/")


class Wire:
    """Answers every call of the products; the changed one as it was changed, in clean mode as it was before."""

    def __init__(self, products: Sequence[Product], *, clean: bool = False) -> None:
        self._replies = {call: _reply(tree) for p in products for call, tree in p.answers.items()}
        for p in () if clean else products:
            self._replies[p.call] = Reply(p.mutation.status, p.mutation.body)
        rows = [changed(p.number, f"{DAY}T08:00:00+00:00", "ft") for p in products]
        self._register = Register(feed=rows)
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        reply = self._replies.get(unquote(target.removeprefix("/cima/rest/")))
        reply = reply or self._register.answer(target)
        return _sent(reply)


def _reply(tree: Tree) -> Reply:
    return Reply(200, json.dumps(tree, ensure_ascii=False).encode())


def cima_of(transport: httpx.BaseTransport, clock: StillClock) -> Cima:
    """The real source over a wire; one connection, so that a trial repeats."""
    options = CimaOptions(base_url=BASE_URL, attempts=2, connections=1, batch=AT_ONCE)
    return Cima(options, clock, wire=transport, pace=SteadyPace(clock, 100_000), rng=random.Random(1))


@dataclass
class Trial:
    """What became of one product."""

    product: Product
    troubles: list[Quarantined]
    bodies: dict[str, dict[Ref, bytes]]  # by scope

    @property
    def all(self) -> dict[Ref, bytes]:
        return {ref: body for some in self.bodies.values() for ref, body in some.items()}

    @property
    def fate(self) -> str:
        if self.troubles:
            return "unfetched" if any(t.row.unfetched for t in self.troubles) else "refused"
        return "mapped" if any(self.bodies.values()) else "gone"


@dataclass
class World:
    """A store and a sink after a first load of one clean product; every run starts from a copy of them."""

    folder: Path
    clock: StillClock = field(default_factory=StillClock)

    def __post_init__(self) -> None:
        self._store, self._files = self.folder / "first.db", self.folder / "first"
        self._memory = MemorySink("first")
        upstream = register(products={}, feed=[])
        upstream.products = {"99001": _REGISTER.products["99001"]}
        for sink in (self._memory, self._folder(self._files, "first")):
            store = self._store if sink is self._memory else self.folder / "files.db"
            report = self._run(store, sink, sending(upstream), "first", validate="off")
            assert report.exit_code == 0

    def _folder(self, path: Path, run: str) -> Folder:
        return Folder(FolderOptions(path=path, release="R5"), self.clock, run)

    def run(self, products: Sequence[Product], *, files: bool, validate: str) -> tuple[Report, list[Trial]]:
        """One night: the feed names all these products."""
        store, name = self.folder / "run.db", "run"
        for left in self.folder.glob("run.db*"):
            left.unlink()
        shutil.copy(self.folder / ("files.db" if files else "first.db"), store)
        sink: Sink
        if files:
            shutil.rmtree(self.folder / "run", ignore_errors=True)
            shutil.copytree(self._files, self.folder / "run")
            sink = self._folder(self.folder / "run", name)
        else:
            sink = MemorySink(name)
            sink.history, sink.marks = deepcopy(self._memory.history), dict(self._memory.marks)
        report = self._run(store, sink, Wire(products).transport, name, validate=validate)
        with open_store(f"sqlite:///{store}") as stored:
            listed = [entry.id for entry in queries.quarantine(stored, "cima")]
            entries = [found[1] for number in listed if (found := queries.quarantined(stored, number))]
            states = stored.reader("cima", "sink").scopes([scope for p in products for scope in scopes_of(p)])
        return report, [
            Trial(
                p,
                [e for e in entries if e.key.partition("#")[0] == p.number],
                {scope: _held(sink, states[scope].refs) for scope in scopes_of(p) if scope in states},
            )
            for p in products
        ]

    def _run(self, store: Path, sink: Sink, transport: httpx.BaseTransport, name: str, *, validate: str) -> Report:
        source = cima_of(transport, self.clock)
        with open_store(f"sqlite:///{store}", create=name == "first") as stored:
            lease = stored.lease("cima", "sink", name, expiry=60, wait=lambda seconds: None)
            with lease as made:
                made.begin_run(RunRecord(name, "cima", self.clock.now()))
                settings = Settings("cima", name, validate=validate, max_quarantine_age=timedelta(days=9999))
                report = run_job(Ports(source, sink, made, self.clock), settings)
        source.close()
        return report


def scopes_of(product: Product) -> list[str]:
    return [product.number, *(f"{product.number}#{flag}" for flag in FLAGS)]


def _held(sink: Sink, refs: Collection[Ref]) -> dict[Ref, bytes]:
    return {ref: held.body or b"" for ref, held in sink.find(sorted(refs), bodies=True).items()}


def sending(upstream: Register) -> httpx.MockTransport:
    """A register as a wire."""
    return httpx.MockTransport(lambda request: _sent(upstream.answer(request.url.raw_path.decode())))


def _sent(reply: Reply) -> httpx.Response:
    return httpx.Response(reply.status, content=reply.body)


# --- what must hold --------------------------------------------------------------------------------------------------


def check_run(report: Report, trials: Sequence[Trial]) -> None:
    """The run says what happened: 65 where anything lies in quarantine, and as many troubles as there are."""
    troubles = sum(len(t.troubles) for t in trials)
    assert report.exit_code == (65 if troubles else 0), report.reasons
    assert report.outcome == ("quarantined" if troubles else "done")
    assert report.troubles == troubles
    assert report.rows["read"] == len(trials) + sum("#" in t.key for trial in trials for t in trial.troubles)
    assert PLANTED not in json.dumps([report.to_json()["reasons"], report.to_json()["notes"]])


def check_trial(trial: Trial) -> None:
    """Mapped or in quarantine, never neither; what is refused can be found by what the entry says; what is mapped is
    whole."""
    mutation = trial.product.mutation
    for trouble in trial.troubles:
        _told(trial.product, trouble)
    _nothing_of_what_is_refused(trial)
    if trial.fate == "gone":
        assert mutation.status == 204, "dropped in silence"
        assert trial.product.call.startswith("medicamento")
    if mutation.neutral:
        assert trial.fate == "mapped", trial.troubles
        assert resources(trial.all) == resources(clean_bodies(trial.product).all)
    elif trial.fate == "mapped":
        for ref, resource in resources(trial.all).items():
            assert (resource["resourceType"], resource["id"]) == ref
        _nothing_left_out(trial)


LONGEST_PLACE = 300  # characters


def _told(product: Product, entry: Quarantined) -> None:
    """Code, place and rule, never the value; and the value is at that place of what is kept, as it was sent."""
    fault, mutation = entry.fault, product.mutation
    assert fault.code
    assert fault.rule
    assert PLANTED not in fault.rule
    assert PLANTED not in fault.path or mutation.path.endswith(".cn")
    assert len(fault.path) < LONGEST_PLACE, "that is no place; and pytest would compare it for half an hour"
    if entry.row.unfetched:  # what cannot be taken for an answer is not kept: it is asked for again
        assert fault.path.partition(": ")[0] == part_of(product.call)
        return
    if entry.ref is not None:
        _told_of_a_resource(product, entry, entry.ref)
        return
    answer, steps = pointed(entry)
    assert (answer.part, answer.status) == (part_of(product.call), mutation.status)
    assert answer.body == mutation.body
    value = offending(entry)
    assert not same(value, at(parse(written(product.answers[product.call])), steps)), "this was so before"
    assert mutation.nowhere or within(steps, mutation.path), f"it is at {mutation.path}"
    place = fault.path.removeprefix(answer.part)  # which names what was asked for: a code that lost a digit is in it
    assert not isinstance(value, str) or len(value) < 4 or value not in f"{fault.rule} {place}"


def _told_of_a_resource(product: Product, entry: Quarantined, ref: Ref) -> None:
    """What may not be written lies there itself, with the answers that it was made of."""
    assert product.mutation.body in [answer.body for answer in entry.row.answers]
    value, steps = refused_part(entry)
    before = clean_bodies(product).all.get(ref)
    assert before is None or not same(value, at(parse(before), steps)), "this was so before"
    assert not isinstance(value, str) or len(value) < 4 or value not in f"{entry.fault.rule} {entry.fault.path}"


def _nothing_of_what_is_refused(trial: Trial) -> None:
    """Of a refused row nothing is written, nor a refused resource; a row of flags that is refused holds back nothing
    beside it."""
    assert not {trouble.ref for trouble in trial.troubles} & trial.all.keys()
    keys = {trouble.key for trouble in trial.troubles if trouble.ref is None}
    if trial.product.number in keys:
        assert not any(trial.bodies.values())
    elif keys:
        (refused,) = keys
        kept, clean = trial.bodies, clean_bodies(trial.product).bodies
        assert refused in scopes_of(trial.product)
        assert not kept.get(refused)
        for scope in set(scopes_of(trial.product)) - {refused}:
            assert resources(kept.get(scope, {})) == resources(clean.get(scope, {})), scope


def resources(bodies: Mapping[Ref, bytes]) -> dict[Ref, Any]:
    """As trees: the folder indents what it writes."""
    return {ref: parse(body) for ref, body in bodies.items()}


def clean_bodies(product: Product) -> Trial:
    """What the answers give as they were before the change."""
    source = cima_of(Wire([product], clean=True).transport, StillClock())
    (batch,) = source.fetch([product.number])
    changes = [change for row in batch.rows for change in source.to_changes(row)]
    source.close()
    bodies: dict[str, dict[Ref, bytes]] = {}
    for change in changes:
        if isinstance(change, Upsert):
            bodies.setdefault(change.scope, {})[change.ref] = change.body
    return Trial(product, [], bodies)


def _nothing_left_out(trial: Trial) -> None:
    """As many of everything as the answers have, read here without the mapping's help."""
    product = json.loads(_said(trial.product, "medicamento"))
    mapped = resources(trial.bodies[trial.product.number])
    kinds = [ref.type for ref in mapped]
    assert kinds.count("MedicinalProductDefinition") == kinds.count("RegulatedAuthorization") == 1
    packs = {pack["cn"] for pack in product.get("presentaciones") or ()}
    assert kinds.count("PackagedProductDefinition") == len(packs)
    substances = [one for kind in ("principiosActivos", "excipientes") for one in product.get(kind) or ()]
    assert kinds.count("Ingredient") == len(substances)
    papers = [one for one in product.get("docs") or () if _web(one.get("url")) or _web(one.get("urlHtml"))]
    photos = [one for one in product.get("fotos") or () if _web(one.get("url"))]
    assert kinds.count("DocumentReference") == len(papers) + len(photos)
    _every_text(trial, product, mapped)
    _everything_beside(trial, product)


def _every_text(trial: Trial, product: Tree, mapped: Mapping[Ref, Any]) -> None:
    kinds = [ref.type for ref in mapped]
    documents = {doc["tipo"] for doc in product.get("docs") or () if doc.get("secc") and doc["tipo"] in (1, 2)}
    bundles = {ref.id.split("-")[3]: body for ref, body in mapped.items() if ref.type == "Bundle"}
    assert set(bundles) == {{1: "ft", 2: "p"}[tipo] for tipo in documents}
    assert (kinds.count("Composition"), kinds.count("List")) == (len(documents), bool(documents))
    for tipo in documents:
        sent = _said(trial.product, f"docSegmentado/contenido/{tipo}")
        outer = bundles[{1: "ft", 2: "p"}[tipo]]["entry"][0]["resource"]["section"][0]
        assert len(outer.get("section", ())) == len(json.loads(sent) if sent else ())


def _everything_beside(trial: Trial, product: Tree) -> None:
    """Notes, materials and supply problems, each in its own scope, where the product says that it has them."""
    packs = [pack["cn"] for pack in product.get("presentaciones") or ()]
    notes = json.loads(_said(trial.product, "notas") or b"[]") if product.get("notas") else []
    found = json.loads(_said(trial.product, "materiales") or b"[]") if product.get("materialesInf") else []
    lists = [one.get(name) or () for one in found for name in ("listaDocsPaciente", "listaDocsProfesional")]
    papers = {_web(paper.get("url")) for some in lists for paper in some} - {""}
    short = product.get("psum") or any(pack.get("psum") for pack in product.get("presentaciones") or ())
    answers = [json.loads(_said(trial.product, f"psuministro/v2/cn/{cn}") or b"{}") for cn in set(packs) if short]
    problems = [one for one in answers if one.get("fini") is not None and one.get("activo") is not False]
    for flag, rows in zip(FLAGS, (notes, papers, problems), strict=True):
        assert len(trial.bodies.get(f"{trial.product.number}#{flag}", ())) == len(rows), flag


def _web(address: str | None) -> str:
    """An address as FHIR can hold it; nothing where it is none of the web's, or too long."""
    text = "".join("%20" if letter.isspace() else letter for letter in (address or "").strip())
    _, mark, rest = text.partition("://")
    return (
        text if mark and text.startswith(("http:", "https:")) and rest[:1] not in ("", "/") and len(text) <= 800 else ""
    )


def _said(product: Product, call: str) -> bytes:
    """What the register answered to this call; empty for nothing (204)."""
    for asked, tree in product.answers.items():
        if asked.partition("?")[0] == call:
            if asked == product.call and product.mutation.status != 200:
                return b""
            body = product.mutation.body if asked == product.call else json.dumps(tree).encode()
            return body.removeprefix(b"\xef\xbb\xbf")
    return b""


def chunks(trials: Sequence[int]) -> Iterator[Sequence[int]]:
    return (trials[at : at + AT_ONCE] for at in range(0, len(trials), AT_ONCE))
