"""Save Identity and Load Identity: a person kept in a file, only when the user asks, or an example person."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..cscs_core import pipeline
from ..cscs_core.faces import identity_file as files
from ..cscs_core.io import images
from ..cscs_core.io.files import BadInput
from ..cscs_core.tasks.example_people import EXAMPLES
from ..cscs_core.types import Identity
from . import host, loaded, node_ui, sockets

_REACTOR = " (ReActor, to match only)"  # after the name of a face model
_EXAMPLES = {f"example {path.stem.replace('_', ' ')}": path for path in sorted(EXAMPLES.glob("*.jpg"))}


def _ours() -> Path:
    return loaded.store().home / "identities"


def _reactors() -> Path:
    return Path(folder_paths.models_dir) / "reactor" / "faces"


class SaveIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SaveIdentity",
            display_name="Save Identity (CSCS)",
            category="CSCS",
            description="Keeps a person as a file in models/cscs/identities, for Load Identity. The file holds the "
            "cut-out faces and their measurements, which are biometric data: keep it only of people who agreed.",
            search_aliases=["save face model", "store face", "export identity", "keep person"],
            is_output_node=True,
            inputs=[
                sockets.Identity.Input("identity", tooltip="The person, from Face Identity or Blend Identities."),
                io.String.Input(
                    "filename",
                    default="person",
                    tooltip="The file's name without folder and ending: letters, digits, spaces, - and _. Load "
                    "Identity lists it under this name.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Turn it on to replace a file of this name; otherwise the node stops when there is one.",
                ),
            ],
            outputs=[io.String.Output("report", tooltip="What was written, and where.")],
        )

    @classmethod
    def validate_inputs(cls, filename: str | None = None) -> bool | str:
        """`filename` is None while another node still has to make it."""
        try:
            if filename is not None:
                files.named(_ours(), filename)
        except BadInput as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, identity: Identity, filename: str, overwrite: bool) -> io.NodeOutput:
        path = files.named(_ours(), filename)
        person = host.rebuild(identity, Identity, "identity")
        files.save_identity(path, person, overwrite)
        count = len(person.weight)
        report = f"{node_ui.plural(count, 'face')}, {path.stat().st_size / 1e6:.1f} MB, written to {path}"
        return io.NodeOutput(report, ui={**node_ui.badge(f"saved {path.stem}"), **node_ui.text(report)})


class LoadIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_LoadIdentity",
            display_name="Load Identity (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Reads a person that Save Identity kept, a bundled example person, or a face model of ReActor, "
            "which holds no picture and can only be matched.",
            search_aliases=["load face model", "reactor face model", "open identity", "saved person", "example face"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=_listed(),
                    tooltip="The person. Files are listed from models/cscs/identities and models/reactor/faces; "
                    "refresh the page's lists (R) after saving a new one. The example people are made up, nobody's "
                    "portrait (CC BY-NC-SA 4.0): take one to try a workflow.",
                ),
            ],
            outputs=[
                sockets.Identity.Output("identity", tooltip="The person, for Face Swap, Select Faces or a blend."),
                io.Image.Output("preview", tooltip="The faces in the file, or one grey picture where it has none."),
                io.String.Output("report", tooltip="How many faces it holds, and which detector measured them."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        try:
            if file is not None:
                _found(file)
        except BadInput as error:
            return f"{error}; refresh the lists (R) and choose again"
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> str:
        try:
            state = _found(file or "").stat()
        except (BadInput, OSError):
            return "gone"
        return f"{state.st_mtime_ns} {state.st_size}"

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        person = _read(_found(file))
        count = len(person.crops)
        faces = person.crops.pixels if count else torch.full((1, 3, 512, 512), 0.5)
        few = node_ui.plural(count, "face")
        holds = few if count else "no face, only measurements: it can be matched, not swapped"
        report = f"{file}: {holds}; measured by {person.encoder}"
        return io.NodeOutput(person, host.pixels(faces), report, ui=node_ui.badge(few if count else "to match only"))


def _listed() -> list[str]:
    """A file wins over an example person of the same name."""
    reactors = [name + _REACTOR for name in files.listing(_reactors())]
    return list(dict.fromkeys([*files.listing(_ours()), *reactors, *_EXAMPLES]))


def _found(choice: str) -> Path:
    """The file of a line of the list. Raises BadInput for one that has gone, or was never there."""
    folder = _reactors() if choice.endswith(_REACTOR) else _ours()
    if choice in _EXAMPLES and choice not in files.listing(folder):
        return _EXAMPLES[choice]
    return files.within(folder, choice.removesuffix(_REACTOR) + files.SUFFIX)


def _read(path: Path) -> Identity:
    if path not in _EXAMPLES.values():
        return files.load_identity(path)
    photo = images.read(path)
    return pipeline.identity_from([photo], loaded.ready(host.pixels(photo))).to("cpu")
