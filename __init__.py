"""ComfyUI imports this folder under its path and calls `comfy_entrypoint`."""

from .nodes import CSCSExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> CSCSExtension:
    return CSCSExtension()
