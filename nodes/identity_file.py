"""Save Identity and Load Identity: a person in a file, written only if the user asks, or an example person."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..cscs_core import pipeline
from ..cscs_core.faces import identity_file
from ..cscs_core.io import images
from ..cscs_core.io.files import BadInput
from ..cscs_core.tasks.example_people import EXAMPLES
from ..cscs_core.types import Identity
from . import host, inputs, loaded, node_ui, sockets

_REACTOR = " (ReActor, to match only)"  # follows the name of a face model
_EXAMPLES = {f"example {path.stem.replace('_', ' ')}": path for path in sorted(EXAMPLES.glob("*.jpg"))}


def _our_folder() -> Path:
    return loaded.store().home / "identities"


def _reactor_folder() -> Path:
    return Path(folder_paths.models_dir) / "reactor" / "faces"


class SaveIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SaveIdentity",
            display_name="Save Identity (CSCS)",
            category="CSCS",
            description="Saves a person to a file in models/cscs/identities, for Load Identity. The file holds the "
            "aligned face crops and their embeddings, which are biometric data. Only save people who agreed.",
            search_aliases=["save face model", "store face", "export identity", "keep person"],
            is_output_node=True,
            inputs=[
                sockets.Identity.Input("identity", tooltip="The person, from Face Identity or Blend Identities."),
                io.String.Input(
                    "filename",
                    default="person",
                    tooltip="The file name without folder and extension. It may contain letters, digits, spaces, - "
                    "and _. Load Identity lists it under this name.",
                ),
                inputs.switch(
                    "overwrite", "Turn it on to replace an existing file of this name. Otherwise the node stops."
                ),
            ],
            outputs=[io.String.Output("report", tooltip="What was saved, and where.")],
        )

    @classmethod
    def validate_inputs(cls, filename: str | None = None) -> bool | str:
        """`filename` is None if it comes from another node that has not run yet."""
        try:
            if filename is not None:
                identity_file.named(_our_folder(), filename)
        except BadInput as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, identity: Identity, filename: str, overwrite: bool) -> io.NodeOutput:
        path = identity_file.named(_our_folder(), filename)
        person = host.rebuild(identity, Identity, "identity")
        identity_file.save_identity(path, person, overwrite)
        count = len(person.weight)
        report = f"{node_ui.plural(count, 'face')}, {path.stat().st_size / 1e6:.1f} MB, saved to {path}"
        return io.NodeOutput(report, ui={**node_ui.badge(f"saved {path.stem}"), **node_ui.text(report)})


class LoadIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_LoadIdentity",
            display_name="Load Identity (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Loads a person that Save Identity saved, a bundled example person, or a ReActor face model. "
            "A face model has no image, so it can only be matched, not swapped in.",
            search_aliases=["load face model", "reactor face model", "open identity", "saved person", "example face"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=_listed(),
                    tooltip="The person. Files are listed from models/cscs/identities and models/reactor/faces. "
                    "Refresh the lists (R) after you save a new one. The example people are generated and show nobody "
                    "real (CC BY-NC-SA 4.0). Use one to try a workflow.",
                ),
            ],
            outputs=[
                sockets.Identity.Output(
                    "identity", tooltip="The person, for Face Swap, Select Faces or Blend Identities."
                ),
                io.Image.Output("preview", tooltip="The faces in the file, or a grey image if it has none."),
                io.String.Output("report", tooltip="How many faces it holds, and which detector embedded them."),
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
        holds = few if count else "no image, only an embedding: it can be matched, not swapped in"
        report = f"{file}: {holds}; embedded by {person.encoder}"
        return io.NodeOutput(person, host.pixels(faces), report, ui=node_ui.badge(few if count else "to match only"))


def _listed() -> list[str]:
    """A file takes precedence over an example person of the same name."""
    reactors = [name + _REACTOR for name in identity_file.listing(_reactor_folder())]
    return list(dict.fromkeys([*identity_file.listing(_our_folder()), *reactors, *_EXAMPLES]))


def _found(choice: str) -> Path:
    """The file of a list entry. Raises BadInput if there is none."""
    folder = _reactor_folder() if choice.endswith(_REACTOR) else _our_folder()
    if choice in _EXAMPLES and choice not in identity_file.listing(folder):
        return _EXAMPLES[choice]
    return identity_file.within(folder, choice.removesuffix(_REACTOR) + identity_file.SUFFIX)


def _read(path: Path) -> Identity:
    if path not in _EXAMPLES.values():
        return identity_file.load_identity(path)
    photo = images.read(path)
    return pipeline.identity_from([photo], loaded.ready(host.pixels(photo))).to("cpu")
