from __future__ import annotations

from abc import ABC, abstractmethod

from . import io

__all__ = ["ComfyExtension", "io"]


class ComfyExtension(ABC):
    async def on_load(self) -> None:  # noqa: B027  (as the host has it)
        pass

    @abstractmethod
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...
