"""Strongly connected components: what refers to each other in a circle, and what only refers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tsi_fetch.words import Ref


def components(graph: Mapping[Ref, frozenset[Ref]]) -> Iterator[list[Ref]]:
    """The circles, and the single resources, of a graph (ref to targets), each after all that it refers to.

    Targets outside the graph are left aside; the same graph gives the same order.  Tarjan, 1972, without recursion.
    """
    index: dict[Ref, int] = {}
    low: dict[Ref, int] = {}
    open_: dict[Ref, None] = {}
    for start in graph:
        if start in index:
            continue
        work = [(start, iter(sorted(graph[start]) if graph[start] else ()))]
        index[start] = low[start] = len(index)
        open_[start] = None
        while work:
            node, targets = work[-1]
            target = next((t for t in targets if t in graph and (t not in index or t in open_)), None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    yield _closed(open_, node)
            elif target in index:
                low[node] = min(low[node], index[target])
            else:
                index[target] = low[target] = len(index)
                open_[target] = None
                work.append((target, iter(sorted(graph[target]))))


def _closed(open_: dict[Ref, None], root: Ref) -> list[Ref]:
    component = []
    while True:
        node, _ = open_.popitem()
        component.append(node)
        if node == root:
            return component[::-1]


def grouped(circles: Iterable[Sequence[Ref]], most: int) -> Iterator[list[Ref]]:
    """Circles in the order given, some at a time: at most so many resources together, but a larger circle whole."""
    group: list[Ref] = []
    for circle in circles:
        if group and len(group) + len(circle) > most:
            yield group
            group = []
        group += circle
    if group:
        yield group
