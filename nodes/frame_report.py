"""What nodes report about the faces that they changed: lines for each frame, and a few words for the badge."""

from __future__ import annotations

from collections.abc import Sequence

from ..cscs_core.faces.select import describe_place
from .node_ui import plural

NO_IMAGES = "no images received"


def frame_lines(index: int, done: str, faces: Sequence[str], skipped: Sequence[str] = ()) -> list[str]:
    """The lines of one frame: a sentence for each face that was changed and the reason for each that was not. `done`
    says what was done: "swapped"."""
    if not faces:
        return unchanged(index, "; ".join(skipped) or "no face found")
    first = f"frame {index}: {plural(len(faces), 'face')} {done}"
    return [first, *(f"  {face}" for face in faces), *(f"  skipped: {reason}" for reason in skipped)]


def unchanged(index: int, why: str) -> list[str]:
    return [f"frame {index} is unchanged: {why}"]


def face(box: Sequence[float], text: str) -> str:
    """A sentence about the face in a box, x1 y1 x2 y2 in pixels."""
    return f"face at {describe_place(box)}: {text}"


def text(lines: Sequence[str]) -> str:
    """The whole report."""
    return "\n".join(lines) or NO_IMAGES


def badge(done: str, similarity: Sequence[float], what: str = "similarity") -> str:
    """How many faces were changed and how similar they are on average; one value per face."""
    if not similarity:
        return f"no face {done}"
    return f"{plural(len(similarity), 'face')}, {what} {sum(similarity) / len(similarity):.2f}"
