"""The job file as plain values, with the line of every key and value kept beside them (PyYAML's node marks)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from jobs.config.interpolate import Interpolator, Trouble
from jobs.config.mistakes import Mistake, Path

_MAX_DEPTH = 20
"""Nothing in a job file is nested deeper; a recursive alias is."""

_MAX_NODES = 100_000
"""Bounds what aliases may multiply to ("billion laughs")."""


@dataclass(slots=True)
class Tree:
    """What the file says: `value`, the lines of keys and of values by path, and the mistakes met on the way."""

    file: str
    value: Any = None
    keys: dict[Path, int] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of the key at `path`, or of the nearest thing around it that is there."""
        for length in range(len(path), -1, -1):
            here = path[:length]
            if (found := self.keys.get(here) or self.lines.get(here)) is not None:
                return found
        return 1

    def wrong(self, path: Path, wrong: str, expected: str = "", fix: str = "", *, unset: bool = False) -> None:
        """Note a mistake, unless one at the same place is known: what is missing is not of a wrong type, too."""
        if not any(mistake.path == path for mistake in self.mistakes):
            self.mistakes.append(Mistake(self.file, self.line(path), path, wrong, expected, fix, unset))


def read_tree(text: str, file: str, interpolator: Interpolator) -> Tree:
    """Parse YAML; a syntax error is one mistake, as nothing can be said of the rest."""
    tree = Tree(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = mark.line + 1 if mark else 1
        tree.mistakes.append(Mistake(file, line, (), f"not YAML: {_first_line(e.problem)}", "", "mind the indentation"))
        return tree
    except yaml.YAMLError as e:
        tree.mistakes.append(Mistake(file, 1, (), f"not YAML: {type(e).__name__}", "UTF-8 text"))
        return tree
    if node is not None:
        tree.value = _Builder(tree, interpolator).build(node, ())
    return tree


def _first_line(problem: str | None) -> str:
    # PyYAML quotes at most one character or token name here, never a value
    return (problem or "cannot be read").splitlines()[0]


class _Builder:
    def __init__(self, tree: Tree, interpolator: Interpolator) -> None:
        self._tree = tree
        self._interpolator = interpolator
        self._scalars = yaml.SafeLoader("")
        self._nodes = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self._tree.lines.setdefault(path, node.start_mark.line + 1)
        self._nodes += 1
        if len(path) > _MAX_DEPTH or self._nodes > _MAX_NODES:
            self._tree.wrong(path, "nested too deep, or too large", "", "an alias refers to itself, or multiplies")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._tree.mistakes.append(Mistake(self._tree.file, line, path, "a key that is no text", "a name"))
                continue
            here = (*path, key_node.value)
            if key_node.value in result:
                wrong = f"the key is there twice, first in line {self._tree.keys[here]}"
                self._tree.mistakes.append(Mistake(self._tree.file, line, here, wrong, "", "keep one of them"))
                continue
            self._tree.keys[here] = line
            result[key_node.value] = self.build(value_node, here)
        return result

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if not node.tag.startswith("tag:yaml.org,2002:"):
            self._tree.wrong(path, "a YAML tag of its own", "a plain value")
            return None
        if node.tag.endswith(":str"):
            key = next((part for part in reversed(path) if isinstance(part, str)), "")
            return self._interpolator.fill(key, node.value, self._note(path))
        return self._plain(node, path)

    def _plain(self, node: yaml.Node, path: Path) -> Any:
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._tree.wrong(path, "a value that YAML cannot read", "", "put it in quotes")
            return None
        if value is None or isinstance(value, bool | int | float):
            return value
        return node.value  # YAML 1.1 would make dates of some texts: no setting is one

    def _note(self, path: Path) -> Callable[[Trouble], None]:
        return lambda trouble: self._tree.wrong(path, trouble.wrong, "", trouble.fix, unset=trouble.unset)
