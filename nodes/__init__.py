"""The only folder that knows ComfyUI: a node is a schema and a few lines over the core."""

from comfy_api.latest import ComfyExtension, io

from . import host
from .detect import DetectFaces
from .identity import FaceIdentity
from .swap import FaceSwap


class CSCSExtension(ComfyExtension):
    async def on_load(self) -> None:
        host.add_model_folder()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            DetectFaces,
            FaceIdentity,
            FaceSwap,
        ]
