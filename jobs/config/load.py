"""Read the job file: all its mistakes at once, or a frozen configuration."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from jobs.catalogue import SINKS, SOURCES, Entry, load
from jobs.config.interpolate import Interpolator
from jobs.config.mistakes import Mistake, WrongFile, closest, one_of
from jobs.config.mistakes import Path as Place
from jobs.config.models import JobFile, JobSettings, StoreSettings
from jobs.config.secret import Secrets
from jobs.config.tree import Tree, read_tree
from jobs.config.whereabouts import STOCK, VARIABLE
from jobs.config.wording import note_errors
from tsi_fetch.errors import SettingError, Usage


@dataclass(frozen=True, slots=True)
class Configuration:
    """A job file without mistakes.  Its repr shows neither options nor URLs."""

    file: Path
    settings: JobFile = field(repr=False)
    secrets: Secrets

    def job(self, name: str) -> JobSettings:
        """The settings of a job; Usage where there is none of that name."""
        if (found := self.settings.jobs.get(name)) is None:
            hint = closest(name, self.settings.jobs) or f"the jobs are {one_of(self.settings.jobs)}"
            raise Usage(f"there is no job {name!r} in {self.file}", hint)
        return found

    def store_of(self, job: str) -> StoreSettings:
        return self.settings.stores[self.job(job).store]

    def source(self, job: str) -> tuple[str, Any]:
        """The kind of a job's source, and its options."""
        return _typed(self.job(job).source, SOURCES)

    def sink(self, name: str) -> tuple[str, Any]:
        """The kind of a sink, and its options."""
        return _typed(self.settings.sinks[name], SINKS)


class _All:
    def __contains__(self, name: object) -> bool:
        return True


ALL: Container[object] = _All()


@dataclass(frozen=True, slots=True)
class Reach:
    """The parts of a job file that are going to be used.  `sinks` and `stores`: None means those of the jobs."""

    jobs: Container[object] = ()
    sinks: Container[object] | None = None
    stores: Container[object] | None = None


def load_configuration(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    reach: Reach | None = None,
    secrets: Secrets | None = None,
) -> Configuration:
    """Read the file at `path`, else the one that TSI_FETCH_CONFIG names, else the stock one.

    `reach`: what is going to be used; variables that only the rest needs may be unset (None: all is needed).
    `secrets`: where secrets are noted as they are read, so that no message about a mistake can show one.
    `WrongFile` (78) with every mistake; SettingError where there is no such file.
    """
    environ = os.environ if environ is None else environ
    file = path or Path(environ.get(VARIABLE) or STOCK)
    secrets = Secrets() if secrets is None else secrets
    tree = read_tree(_text(file), str(file), Interpolator(environ, secrets))
    if tree.value is None and tree.mistakes:
        raise WrongFile(tree.mistakes)
    settings = _check(tree)
    mistakes = [mistake for mistake in tree.mistakes if not (mistake.unset and _beyond(tree, mistake.path, reach))]
    if mistakes or settings is None:
        raise WrongFile(mistakes or tree.mistakes)
    return Configuration(file, settings, secrets)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise WrongFile([Mistake(str(file), 1, (), "not UTF-8 text", "a YAML file")]) from e
    except OSError as e:
        hint = f"name a job file with --config or {VARIABLE}; without either the stock jobs are used"
        raise SettingError(f"the job file {file} cannot be read: {e.strerror}", hint) from e


def _typed(raw: Mapping[str, Any], kinds: Mapping[str, Entry]) -> tuple[str, Any]:
    options = dict(raw)
    kind = str(options.pop("kind"))
    return kind, load(kinds[kind].options).model_validate(options)


def _check(tree: Tree) -> JobFile | None:
    """Note every mistake in the tree; None where the file's own shape is wrong."""
    value = tree.value if tree.value is not None else {}
    settings = None
    try:
        settings = JobFile.model_validate(value)
    except ValidationError as e:
        note_errors(tree, (), JobFile, e)
    if not isinstance(value, dict):
        return None
    for name, sink in _mappings(value.get("sinks")):
        _check_options(tree, ("sinks", name), sink, SINKS)
    for name, job in _mappings(value.get("jobs")):
        if isinstance(job.get("source"), dict):
            _check_options(tree, ("jobs", name, "source"), job["source"], SOURCES)
        _check_name(tree, ("jobs", name, "sink"), job.get("sink"), value.get("sinks"))
        _check_name(tree, ("jobs", name, "store"), job.get("store"), value.get("stores"))
    return settings


def _mappings(value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield from ((name, item) for name, item in value.items() if isinstance(item, dict))


def _check_options(tree: Tree, path: Place, raw: Mapping[str, Any], kinds: Mapping[str, Entry]) -> None:
    kind = raw.get("kind")
    if kind is None:
        tree.wrong((*path, "kind"), "missing", one_of(kinds), "say of which kind it is")
        return
    if kind not in kinds:
        tree.wrong((*path, "kind"), "an unknown kind", one_of(kinds), closest(kind, kinds))
        return
    model: type[BaseModel] = load(kinds[kind].options)
    try:
        model.model_validate({key: value for key, value in raw.items() if key != "kind"})
    except ValidationError as e:
        note_errors(tree, path, model, e)


def _check_name(tree: Tree, path: Place, name: object, among: object) -> None:
    if isinstance(name, str) and isinstance(among, dict) and name not in among:
        tree.wrong(path, f"no {path[-1]} has this name", one_of(map(str, among)), closest(name, map(str, among)))


def _beyond(tree: Tree, path: Place, reach: Reach | None) -> bool:
    """True where what is going to be used does not need the value at `path`."""
    if reach is None or len(path) < 2:
        return False
    room, name = str(path[0]), path[1]
    jobs = [job for key, job in _mappings(tree.value.get("jobs")) if key in reach.jobs]
    needed: dict[str, Container[object]] = {
        "jobs": reach.jobs,
        "sinks": [job.get("sink") for job in jobs] if reach.sinks is None else reach.sinks,
        "stores": [job.get("store") for job in jobs] if reach.stores is None else reach.stores,
    }
    return name not in needed.get(room, [name])
