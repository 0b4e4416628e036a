from __future__ import annotations


class ProgressBar:
    last: ProgressBar | None = None

    def __init__(self, total: int, node_id: str | None = None):
        self.total, self.current = total, 0
        ProgressBar.last = self

    def update(self, value: int) -> None:
        self.current += value
