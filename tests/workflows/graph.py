"""A workflow written down once, as ComfyUI's page saves it and as its server runs it.

What inputs, widgets and outputs a node has comes from `object_info.json`, recorded from a real host.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
INFO: dict[str, Any] = json.loads((HERE / "object_info.json").read_text("utf-8"))

_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
_ROW, _WIDGET, _TITLE, _GAP = 22, 26, 40, 60  # px
_STRIP = 60  # px, below a node of ours: its words once it has run and, in Nodes 2.0, where it is from
_WIDE, _PICTURE = 330, 240
_SHOWING = ("LoadImage", "PreviewImage", "SaveImage", "MaskPreview", "PreviewAny", "LoadVideo", "SaveVideo")

Link = tuple["Node", int]  # a node and the number of its output


@dataclass
class Node:
    """One node, its values and what it is connected to, by the name of the input."""

    id: int
    kind: str
    title: str | None
    inputs: dict[str, Any]
    room: int  # px kept free below, for what the node shows once it has run
    column: int | None = None
    muted: bool = False

    def __getitem__(self, output: str) -> Link:
        names = INFO[self.kind]["output_name"]
        return self, names.index(output)

    @property
    def parts(self) -> list[tuple[str, str, dict[str, Any], bool]]:
        """Name, type, options and whether optional, of every input in the order of the page."""
        found = []
        for need in ("required", "optional"):
            for name, (kind, *options) in INFO[self.kind]["input"].get(need, {}).items():
                more = options[0] if options else {}
                if isinstance(kind, list):
                    kind, more = "COMBO", {**more, "options": kind}
                if kind == "COMFY_DYNAMICCOMBO_V3":
                    kind, more = "COMBO", {**more, "options": [option["key"] for option in more["options"]]}
                found.append((name, kind, more, need == "optional"))
        return found

    @property
    def widgets(self) -> list[tuple[str, str, dict[str, Any], bool]]:
        return [part for part in self.parts if part[1] in _WIDGETS and not part[2].get("forceInput")]

    @property
    def sockets(self) -> list[tuple[str, str, dict[str, Any], bool]]:
        return [part for part in self.parts if part not in self.widgets]

    def value(self, name: str, kind: str, options: dict[str, Any]) -> Any:
        """What the widget says: what was given, else its default."""
        given = self.inputs.get(name)
        if given is not None and not isinstance(given, tuple):
            return given
        if "default" in options:
            return options["default"]
        return options["options"][0] if kind == "COMBO" and options.get("options") else ""

    @property
    def size(self) -> tuple[int, int]:
        rows = max(len(self.sockets), len(INFO[self.kind]["output_name"]))
        return _WIDE, rows * _ROW + len(self.widgets) * _WIDGET + (_PICTURE if self.kind in _SHOWING else 0) + 10


@dataclass
class Graph:
    """A workflow in the making."""

    name: str
    nodes: list[Node] = field(default_factory=list)
    words: str = ""  # a note at the left

    def node(
        self,
        kind: str,
        title: str | None = None,
        /,
        *,
        room: int = 0,
        column: int | None = None,
        muted: bool = False,
        **inputs: Any,
    ) -> Node:
        """`inputs` are links, as `node["output"]`, or values; what is not given keeps its default."""
        made = Node(len(self.nodes) + 1, kind, title, inputs, room, column, muted)
        unknown = set(inputs) - {name for name, *_ in made.parts}
        if unknown:
            raise ValueError(f"{self.name}: {kind} has no input {', '.join(sorted(unknown))}")
        self.nodes.append(made)
        return made

    def api(self) -> dict[str, Any]:
        """What POST /prompt takes."""
        prompt = {}
        for node in self.nodes:
            inputs = {name: node.value(name, kind, options) for name, kind, options, _ in node.widgets}
            inputs |= {
                name: [str(value[0].id), value[1]] if isinstance(value, tuple) else value
                for name, value in node.inputs.items()
            }
            title = node.title or INFO[node.kind]["display_name"]
            prompt[str(node.id)] = {
                "class_type": node.kind,
                "inputs": _dotted(node, inputs),
                "_meta": {"title": title},
            }
        return prompt

    def page(self) -> dict[str, Any]:
        """What the page saves and loads."""
        links: list[list[Any]] = []
        into: dict[tuple[int, str], int] = {}
        out: dict[tuple[int, int], list[int]] = {}
        for node in self.nodes:
            names = [part[0] for part in [*node.sockets, *node.widgets]]
            for name, value in node.inputs.items():
                if not isinstance(value, tuple):
                    continue
                source, output = value
                link = len(links) + 1
                kind = INFO[source.kind]["output"][output]
                links.append(
                    [link, source.id, output, node.id, names.index(name), kind if isinstance(kind, str) else "COMBO"]
                )
                into[node.id, name] = link
                out.setdefault((source.id, output), []).append(link)
        places = self._places()
        nodes = [self._page_node(order, node, places[node.id], into, out) for order, node in enumerate(self.nodes)]
        if self.words:
            nodes.append(_note(len(nodes) + 1, self.words))
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"cscs/{self.name}")),
            "revision": 0,
            "last_node_id": len(nodes),
            "last_link_id": len(links),
            "nodes": nodes,
            "links": links,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }

    def _page_node(
        self,
        order: int,
        node: Node,
        place: tuple[int, int],
        into: dict[tuple[int, str], int],
        out: dict[tuple[int, int], list[int]],
    ) -> dict[str, Any]:
        inputs: list[dict[str, Any]] = []
        for name, kind, _, optional in node.sockets:
            shape = {"shape": 7} if optional else {}
            inputs.append({"name": name, "type": kind, **shape, "link": into.get((node.id, name))})
        for name, kind, _, optional in node.widgets:
            shape = {"shape": 7} if optional else {}
            inputs.append(
                {"name": name, "type": kind, **shape, "widget": {"name": name}, "link": into.get((node.id, name))}
            )
        values: list[Any] = []
        for name, kind, options, _ in node.widgets:
            values.append(node.value(name, kind, options))
            if options.get("control_after_generate"):
                values.append("fixed")
            values += ["image"] if options.get("image_upload") else []
            values += ["image"] if options.get("video_upload") else []
            values += ["auto"] if node.kind == "SaveVideo" and name == "format" else []
        names, kinds = INFO[node.kind]["output_name"], INFO[node.kind]["output"]
        outputs = [
            {"name": name, "type": kind if isinstance(kind, str) else "COMBO", "links": out.get((node.id, number))}
            for number, (name, kind) in enumerate(zip(names, kinds, strict=True))
        ]
        made = {
            "id": node.id,
            "type": node.kind,
            "pos": list(place),
            "size": list(node.size),
            "flags": {},
            "order": order,
            "mode": 2 if node.muted else 0,
            "inputs": inputs,
            "outputs": outputs,
            "properties": {"Node name for S&R": node.kind},
            "widgets_values": values,
        }
        return made | ({"title": node.title} if node.title else {})

    def _places(self) -> dict[int, tuple[int, int]]:
        """Columns by how far a node is from the start, rows as they were written down."""
        column: dict[int, int] = {}
        for node in self.nodes:
            before = [column[value[0].id] + 1 for value in node.inputs.values() if isinstance(value, tuple)]
            column[node.id] = max(before, default=0) if node.column is None else node.column
        places, filled = {}, {}
        for node in self.nodes:
            x = column[node.id]
            y = filled.get(x, 0)
            places[node.id] = (x * (_WIDE + _GAP), y)
            room = max(node.room, _STRIP if node.kind.startswith("CSCS_") else 0)
            filled[x] = y + node.size[1] + room + _TITLE + _GAP // 2
        return places


def _dotted(node: Node, inputs: dict[str, Any]) -> dict[str, Any]:
    """A choice within a choice has a name of its own in what the server takes."""
    return inputs | ({"format.codec": "auto"} if node.kind == "SaveVideo" else {})


def _note(number: int, words: str) -> dict[str, Any]:
    lines = sum(1 + len(line) // 46 for line in words.splitlines())
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [-(_WIDE + _GAP), 0],
        "size": [_WIDE, 60 + 20 * lines],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [words],
        "title": "Read me",
        "color": "#432",
        "bgcolor": "#653",
    }
