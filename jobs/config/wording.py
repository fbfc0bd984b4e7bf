"""pydantic's errors as mistakes a person can mend: never with the value, which may be a secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from jobs.config.mistakes import Path, closest, one_of
from jobs.config.tree import Tree

_EXPECTED = {
    "bool": "true or false",
    "dict": "a mapping of names to values",
    "model": "a mapping of names to values",
    "float": "a number",
    "frozen_set": "a list",
    "int": "a whole number",
    "list": "a list",
    "set": "a list",
    "string": "text",
    "time_delta": "a span of time like 90s, 2h or 7d",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "too_short": ("min_length", "entries: at least"),
    "string_too_short": ("min_length", "characters: at least"),
    "string_too_long": ("max_length", "characters: at most"),
    "string_pattern_mismatch": ("pattern", "text that matches"),
}


def note_errors(tree: Tree, path: Path, model: type[BaseModel], error: ValidationError) -> None:
    """Note each of the errors that `model` has found in the part of the file at `path`."""
    for found in error.errors(include_url=False, include_input=False):
        loc = tuple(part for part in found["loc"] if part != "[key]")
        known = _keys(model, loc[:-1])
        kind = found["type"]
        here = (*path, *loc)
        if kind == "extra_forbidden":
            tree.wrong(here, "an unknown key", one_of(known), closest(loc[-1], known))
        elif kind == "missing":
            tree.wrong(here, "missing", "", f"add `{loc[-1]}:`{_meaning(model, loc)}")
        else:
            tree.wrong(here, "a wrong value", *_expected(kind, found))


def _expected(kind: str, found: Any) -> tuple[str, str]:
    context = found.get("ctx", {})
    if kind == "literal_error":
        return str(context["expected"]).replace("'", ""), ""
    if kind == "value_error":
        # Our own validators' words: what is expected, or a whole sentence that says so.
        said = str(context["error"])
        return (said.removeprefix("expected "), "") if said.startswith("expected ") else ("", said)
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{words} {context[bound]}", ""
    for prefix, words in _EXPECTED.items():
        if kind.startswith(prefix):
            return words, "write it as `name: value` lines" if words.startswith("a mapping") else ""
    return str(found["msg"]), ""


def _keys(model: type[BaseModel], loc: Path) -> list[str]:
    """The keys that are allowed at `loc` inside `model`."""
    inner = _walk(model, loc)
    return [field.alias or name for name, field in inner.model_fields.items()] if inner else []


def _meaning(model: type[BaseModel], loc: Path) -> str:
    inner = _walk(model, loc[:-1])
    fields = inner.model_fields.items() if inner else ()
    texts = [field.description for name, field in fields if (field.alias or name) == loc[-1] and field.description]
    return f" ({texts[0].rstrip('.')})" if texts else ""


def _walk(model: type[BaseModel], loc: Path) -> type[BaseModel] | None:
    here: Any = model
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = here.model_fields.items()
            here = next((f.annotation for name, f in fields if (f.alias or name) == part), None)
        else:
            here = next(_models(get_args(here)), None)
    return _model_in(here)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(_models(get_args(annotation)), None)


def _models(arguments: Iterable[Any]) -> Iterator[type[BaseModel]]:
    for argument in arguments:
        if (found := _model_in(argument)) is not None:
            yield found
