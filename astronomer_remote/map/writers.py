"""Writes a map as a table, for Mermaid and Graphviz, and as JSON. Nothing in an id acts on what reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from astronomer_remote.api.pools import diff
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.map.model import Edge, Map, Status

COLUMNS = ("deployment", "DAG", "task", "does", "connection", "kind", "what", "status")
SIGN = {Status.OK: "ok", Status.BROKEN: "BROKEN", Status.UNKNOWN: "unknown", Status.UNCHECKED: "-"}

MOST_TASKS = 5
"""How many tasks are named that have the same problem."""


def table(found: Map) -> str:
    """One line for each edge, and below one for each problem with the tasks that have it."""
    names = list(COLUMNS)
    rows = [
        [edge.local, edge.dag_id, edge.source, edge.how, edge.connection, edge.kind, edge.target, SIGN[edge.status]]
        for edge in found.edges
    ]
    if not found.checked:
        rows, names = [row[:-1] for row in rows], names[:-1]
    if len({edge.local for edge in found.edges}) < 2:
        rows, names = [row[1:] for row in rows], names[1:]
    shown = diff.table(names, [[untrusted.readable(cell) for cell in row] for row in rows])
    tasks: dict[str, dict[str, None]] = {}
    for edge in found.broken:
        for problem in edge.problems:
            tasks.setdefault(problem, {})[untrusted.readable(f"{edge.dag_id}.{edge.source}")] = None
    problems = [f"{diff.enumerated(list(concerned), MOST_TASKS)}: {problem}" for problem, concerned in tasks.items()]
    return "\n".join([shown, *([""] if problems else []), *problems])


def to_json(found: Map) -> str:
    """The map as JSON; non-ASCII and control characters are escaped."""
    return json.dumps(found.as_dict(), indent=2)


def mermaid(found: Map) -> str:
    """A flowchart of Mermaid."""
    lines = ["flowchart LR"]
    numbers = _Numbers()
    for opening, nodes in _groups(found):
        lines.append(f'  subgraph {numbers.of(opening)}["{_mermaid_text(opening[-1])}"]')
        lines += [f'    {numbers.of(node)}["{_mermaid_text(node[-1])}"]' for node in nodes]
        lines.append("  end")
    for edge in found.edges:
        arrow = "-.->" if edge.status is Status.BROKEN else "-->"
        ends = numbers.of(_source(edge)), numbers.of(_target(edge))
        lines.append(f'  {ends[0]} {arrow}|"{_mermaid_text(edge.how)}"| {ends[1]}')
    broken = [str(number) for number, edge in enumerate(found.edges) if edge.status is Status.BROKEN]
    if broken:
        lines.append(f"  linkStyle {','.join(broken)} stroke:#d92d20,color:#d92d20")
    return "\n".join(lines)


def graphviz(found: Map) -> str:
    """A digraph in Graphviz' language."""
    lines = ["digraph remote {", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    numbers = _Numbers()
    for opening, nodes in _groups(found):
        lines.append(f"  subgraph cluster_{numbers.of(opening)} {{")
        lines.append(f"    label={_dot_text(opening[-1])};")
        lines += [f"    {numbers.of(node)} [label={_dot_text(node[-1])}];" for node in nodes]
        lines.append("  }")
    for edge in found.edges:
        look = ", color=red, fontcolor=red, style=dashed" if edge.status is Status.BROKEN else ""
        ends = f"{numbers.of(_source(edge))} -> {numbers.of(_target(edge))}"
        lines.append(f"  {ends} [label={_dot_text(edge.how)}{look}];")
    return "\n".join([*lines, "}"])


WRITERS: dict[str, Callable[[Map], str]] = {
    "table": table,
    "mermaid": mermaid,
    "dot": graphviz,
    "json": to_json,
}
"""By the name of the format."""

Node = tuple[str, ...]
"""What identifies a node or a group; the last is its label."""


def _source(edge: Edge) -> Node:
    return "task", edge.local, edge.dag_id, edge.source


def _target(edge: Edge) -> Node:
    return "remote", edge.connection, edge.kind, f"{edge.kind} {edge.target}"


def _groups(found: Map) -> Iterator[tuple[Node, list[Node]]]:
    """The local DAGs with their tasks, and the connections with what is depended on."""
    groups: dict[Node, dict[Node, None]] = {}
    several = len({edge.local for edge in found.edges}) > 1
    for edge in found.edges:
        label = f"{edge.local}: {edge.dag_id}" if several else edge.dag_id
        groups.setdefault(("dag", edge.local, edge.dag_id, label), {})[_source(edge)] = None
    for edge in found.edges:
        groups.setdefault(("connection", edge.connection), {})[_target(edge)] = None
    for opening, nodes in groups.items():
        yield opening, list(nodes)


class _Numbers:
    """Ids of nodes: no text of a DAG file is one."""

    def __init__(self) -> None:
        self._known: dict[Node, str] = {}

    def of(self, node: Node) -> str:
        return self._known.setdefault(node, f"n{len(self._known)}")


def _mermaid_text(text: str) -> str:
    """Text in quotes: Mermaid takes it for Markdown and HTML, but has codes for characters."""
    plain = untrusted.readable(text)
    # It does not accept an empty label.
    return "".join(each if each.isalnum() or each in " _-.:/()" else f"#{ord(each)};" for each in plain) or " "


def _dot_text(text: str) -> str:
    # Graphviz decodes HTML entities in any label.
    escaped = untrusted.readable(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
