"""V3 schemas: only the keywords that ComfyUI 0.20 knows already."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar


@dataclass
class Input:
    io_type: ClassVar[str]
    id: str
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None
    lazy: bool | None = None
    extra_dict: dict[str, Any] | None = None
    raw_link: bool | None = None
    advanced: bool | None = None


@dataclass
class WidgetInput(Input):
    default: Any = None
    socketless: bool | None = None
    force_input: bool | None = None


@dataclass
class Output:
    io_type: ClassVar[str]
    id: str | None = None
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False


class ComfyType:
    io_type: ClassVar[str]
    Input = Input
    Output = Output


def Custom(io_type: str) -> type[ComfyType]:
    """A type of socket with its own inputs and outputs."""
    body = {"io_type": io_type}
    parts = {name: type(name, (getattr(ComfyType, name),), body) for name in ("Input", "Output")}
    return type(io_type, (ComfyType,), {**body, **parts})


Image = Custom("IMAGE")
Mask = Custom("MASK")


class Boolean:
    io_type = "BOOLEAN"

    @dataclass
    class Input(WidgetInput):
        io_type = "BOOLEAN"
        label_on: str | None = None
        label_off: str | None = None

    @dataclass
    class Output(Output):
        io_type = "BOOLEAN"


class Int:
    io_type = "INT"

    @dataclass
    class Input(WidgetInput):
        io_type = "INT"
        min: int | None = None
        max: int | None = None
        step: int | None = None
        control_after_generate: bool | None = None

    @dataclass
    class Output(Output):
        io_type = "INT"


class Float:
    io_type = "FLOAT"

    @dataclass
    class Input(WidgetInput):
        io_type = "FLOAT"
        min: float | None = None
        max: float | None = None
        step: float | None = None
        round: float | None = None

    @dataclass
    class Output(Output):
        io_type = "FLOAT"


class String:
    io_type = "STRING"

    @dataclass
    class Input(WidgetInput):
        io_type = "STRING"
        multiline: bool = False
        placeholder: str | None = None

    @dataclass
    class Output(Output):
        io_type = "STRING"


class Combo:
    io_type = "COMBO"

    @dataclass
    class Input(WidgetInput):
        io_type = "COMBO"
        options: list[str] = field(default_factory=list)


class Hidden(str, Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


class HiddenHolder:
    """What the host filled in for a run; None for what was not asked for."""

    def __init__(self, unique_id: str | None = None, prompt: Any = None, extra_pnginfo: Any = None):
        self.unique_id, self.prompt, self.extra_pnginfo = unique_id, prompt, extra_pnginfo


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Any] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    accept_all_inputs: bool = False
    essentials_category: str | None = None
    has_intermediate_output: bool = False

    def validate(self) -> None:
        """As the host: input ids are unique, output ids are unique."""
        for ids in ([i.id for i in self.inputs], [o.id for o in self.outputs if o.id is not None]):
            if len(set(ids)) != len(ids):
                raise ValueError(f"ids must be unique: {ids}")


class ComfyNode:
    hidden: ClassVar[HiddenHolder] = HiddenHolder()

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        schema = cls.define_schema()
        schema.validate()
        return schema


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None, expand: dict | None = None, block_execution: str | None = None):
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    @property
    def result(self) -> tuple[Any, ...] | None:
        return self.args or None

    def __getitem__(self, index: int) -> Any:
        return self.args[index]
