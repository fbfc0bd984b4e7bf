"""A tiny load that is interrupted, and its checker: which finds nothing wrong, and each thing that is made wrong."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import pytest

from dev.cima.generated import Generated, Settings
from dev.cima.truth import Truth
from dev.load.children import Stuck, Usage, Watch, run
from dev.load.index import Index, Version
from dev.load.kept import misreported
from dev.load.order import fates, out_of_order
from dev.load.places import InFolder
from dev.load.plan import acts, requests_of
from dev.load.trial import Asked, Played, Trial
from dev.load_cima import arguments, judged
from tests.faults.seen import Ended

TINY = Asked(seed=2, products=20, interruptions=3, nights=3, changes=6, text_bytes=3_000, lease=3, patience=300)


@dataclass(frozen=True)
class Loaded:
    """A load that is done."""

    trial: Trial
    place: InFolder
    played: Played

    def wrong(self) -> list[str]:
        with closing(Index(self.place.folder / "index.db", self.place.versions())) as index:
            return [*self.played.wrong, *judged(self.trial, self.place, self.played, index)]

    def files(self, pattern: str) -> list[Path]:
        return sorted((self.place.folder / "epi").glob(pattern))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("load")
    trial = Trial(TINY, place := InFolder(folder), folder)
    return Loaded(trial, place, trial.play())


@contextmanager
def changed(path: Path, change: Callable[[Any], Any]) -> Iterator[None]:
    """A file that somebody has changed, for as long as the `with` block lasts."""
    before = path.read_bytes()
    path.write_text(json.dumps(change(json.loads(before)), ensure_ascii=False, indent=2) + "\n")
    yield
    path.write_bytes(before)


def test_a_load_that_was_interrupted_three_times_is_whole_at_the_end(loaded: Loaded) -> None:
    assert loaded.wrong() == []
    assert loaded.played.interruptions == 3
    assert loaded.played.nights == 3
    assert [end.code for end in loaded.played.ends][:3] == [-9, 143, 130]
    assert loaded.played.ends[0].outcome == "lost"
    assert (loaded.played.ends[-1].code, loaded.played.ends[-1].outcome) == (0, "done")
    assert loaded.played.usage.cpu > 0


def test_what_lacks_is_named(loaded: Loaded) -> None:
    path = _of_a_live_product(loaded, "PackagedProductDefinition")
    aside = path.rename(path.with_name(".aside"))
    wrong = loaded.wrong()
    aside.rename(path)
    cn = path.stem.rpartition("-")[2]
    assert [line for line in wrong if f"PackagedProductDefinition {cn} 0 times" in line]
    assert f"PackagedProductDefinition/{path.stem} is remembered, and is nowhere" in wrong


def test_what_nobody_asked_for_is_named(loaded: Loaded) -> None:
    path = loaded.files("RegulatedAuthorization/*.json")[0]
    stranger = json.loads(path.read_bytes()) | {"id": "stranger"}
    stranger["subject"] = [{"reference": "MedicinalProductDefinition/stranger"}]
    added = path.with_name("stranger.json")
    added.write_text(json.dumps(stranger))
    odd = path.with_name("odd.json")
    odd.write_text("{}")
    wrong = loaded.wrong()
    added.unlink()
    odd.unlink()
    assert "RegulatedAuthorization/stranger is there, and nobody asked for it" in wrong
    assert "RegulatedAuthorization/stranger is at the sink, and nobody remembers it" in wrong
    assert "RegulatedAuthorization/odd is none of CIMA's resources" in wrong


def _first_section(bundle: Any) -> Any:
    return bundle["entry"][0]["resource"]["section"][0]["section"]


def _other_word(bundle: Any) -> Any:
    section = next(s for s in _first_section(bundle) if len(s["text"]["div"]) > 500)
    section["text"]["div"] = re.sub(r">(\w)", r">X\1", section["text"]["div"], count=1)
    return bundle


def _badly_nested(bundle: Any) -> Any:
    section = next(s for s in _first_section(bundle) if "</p>" in s["text"]["div"])
    section["text"]["div"] = section["text"]["div"].replace("</p>", "</span>", 1)
    return bundle


def _without_a_section(bundle: Any) -> Any:
    _first_section(bundle).pop()
    return bundle


def _another_title(bundle: Any) -> Any:
    _first_section(bundle)[0]["title"] = "0. Otro"
    return bundle


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_word, "another text in section"),
        (_badly_nested, "another text in section"),
        (_without_a_section, "sections, and not"),
        (_another_title, "title"),
    ],
)
def test_a_text_that_is_not_the_registers_is_named(loaded: Loaded, change: Callable[[Any], Any], said: str) -> None:
    with changed(_of_a_live_product(loaded, "Bundle"), change):
        wrong = loaded.wrong()
    assert [line for line in wrong if " has Bundle " in line and said in line]
    assert [line for line in wrong if "is remembered in another version" in line]


def _of_a_live_product(loaded: Loaded, kind: str) -> Path:
    """The first file of a type that says that it is active, or holds what does."""
    return next(path for path in loaded.files(f"{kind}/*.json") if b'"active"' in path.read_bytes())


def _revoked(resource: Any) -> Any:
    resource["status"] = {"coding": [{"code": "retired"}]}
    return resource


def _named_otherwise(resource: Any) -> Any:
    resource["name"][0]["productName"] += " X"
    return resource


def _of_another_holder(resource: Any) -> Any:
    resource["holder"] = {"reference": "Organization/es-aemps-org-aemps"}
    return resource


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("MedicinalProductDefinition", _revoked, "0 times that are not over"),
        ("MedicinalProductDefinition", _named_otherwise, "has another name"),
        ("RegulatedAuthorization", _revoked, "is authorised as retired, and is authorised"),
        ("RegulatedAuthorization", _of_another_holder, "has another holder"),
    ],
)
def test_a_product_that_is_not_as_the_register_has_it_is_named(
    loaded: Loaded, kind: str, change: Callable[[Any], Any], said: str
) -> None:
    with changed(_of_a_live_product(loaded, kind), change):
        assert [line for line in loaded.wrong() if said in line]


def test_a_false_green_run_is_named(loaded: Loaded) -> None:
    killed = Ended("killed", -9, "done", None)
    green = replace(loaded.played.ends[-1], code=65)
    with closing(Index(loaded.place.folder / "none.db", ())) as index:
        wrong = list(misreported([killed, green], index, histories=False))
    assert [line for line in wrong if line.startswith("killed was killed, and is recorded as done")]
    assert [line for line in wrong if line.startswith(f"{green.run} ended with 65, and its record says 0")]


REGISTER = Settings(seed=3, products=20, text_bytes=3_000, changes=20)


def test_versions_that_say_the_same_and_deletions_are_named(tmp_path: Path) -> None:
    """As a server with histories would give them."""
    with closing(Index(tmp_path / "index.db", _firms())) as index:
        wrong = list(out_of_order(Generated(REGISTER), index))
        assert index.written() == {("one", "Organization"): 2}
        assert index.size() == (1, 4)
    assert wrong == [
        "Organization/a: version 2 says what version 1 said",
        "Organization/a: version 3 is a deletion, and nothing was to be deleted",
    ]


def _firms() -> Iterator[Version]:
    body = json.dumps({"resourceType": "Organization", "id": "a", "name": "A", "active": True}).encode()
    yield Version("Organization", "a", 2, "2", body, "one")
    yield Version("Organization", "a", 1, "1", body, "one")
    yield Version("Organization", "b", 1, "1", body)
    yield Version("Organization", "a", 3, "3", None)


@pytest.mark.parametrize(("order", "wrong"), [((0, 1), []), ((1, 0), ["version 2 says what the register said before"])])
def test_a_text_follows_the_order_of_the_nights(tmp_path: Path, order: tuple[int, int], wrong: list[str]) -> None:
    register = Generated(REGISTER)
    before = {number: register.truth(number) for number in register.numbers()}
    register.pass_night()
    number, truth = next(
        (number, now)
        for number, was in before.items()
        if number.isalnum() and (now := register.truth(number)).exists and _rewritten(was, now)
    )
    both = [_leaflet(before[number]), _leaflet(truth)]
    versions = [
        Version("Composition", f"es-aemps-comp-p-{number}", n + 1, str(n + 1), both[v]) for n, v in enumerate(order)
    ]
    with closing(Index(tmp_path / "index.db", versions)) as index:
        told = list(out_of_order(register, index))
    assert [line for said in wrong for line in told if said in line] == told
    assert len(told) == len(wrong)


def _rewritten(was: Truth, now: Truth) -> bool:
    return 2 in (was.texts or {}) and 2 in (now.texts or {}) and was.digests()[2] != now.digests()[2]


def _leaflet(truth: Truth) -> bytes:
    sections = [
        {"title": f"{number}. {title}", "text": {"div": f"<div>{escape(text or f'{number}. {title}')}</div>"}}
        for number, title, text in (truth.texts or {})[2]
    ]
    return json.dumps(
        {
            "resourceType": "Composition",
            "status": "final",
            "type": {"coding": [{"code": "100000155538"}]},
            "subject": [{"reference": "MedicinalProductDefinition/x"}],
            "section": [{"section": sections}],
        }
    ).encode()


def test_a_product_that_comes_back_was_over_in_between() -> None:
    found = fates(Settings(seed=5, products=30), [25] * 8)
    assert all(len(fate) > 1 for fate in found.values())
    assert [fate for fate in found.values() if True in fate and fate[-1] is False]


def test_what_happens_is_the_same_for_a_seed_and_comes_within_the_load() -> None:
    register = Generated(REGISTER)
    planned = acts(register, 4, 5, 3)
    assert planned == acts(Generated(REGISTER), 4, 5, 3)
    assert planned != acts(register, 6, 5, 3)
    assert [act.signal.name for act in planned if act.signal] == ["SIGKILL", "SIGTERM", "SIGINT", "SIGKILL", "SIGTERM"]
    assert sum(act.what == "night" for act in planned) == 3
    assert max(act.at for act in planned) < sum(requests_of(register))


def test_a_run_that_asks_for_nothing_and_does_not_end_is_given_up(tmp_path: Path) -> None:
    watch = Watch(asked=lambda: 0, due=lambda _: None, patience=0.1)
    with pytest.raises(Stuck, match="asked for nothing"):
        run([sys.executable, "-c", "import threading; threading.Event().wait()"], tmp_path / "out", Usage(), watch)


def test_the_command_line_loads_a_small_register_where_nothing_is_said() -> None:
    given = arguments([])
    assert (given.products, given.sink, given.interruptions, given.rate) == (300, "folder", 10, 50)
