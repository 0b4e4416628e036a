"""`cscs detect`: locates the faces in pictures."""

from __future__ import annotations

import argparse

from ..faces.select import order
from ..io import images
from ..io.console import complain, say, tracked
from ..ops import mesh
from ..pipeline import find, load_models
from ..types import FaceSet
from .common import check_report, faces_text, finish_report, rounded, select_device


def run(options: argparse.Namespace) -> int:
    """0, or 2 if some pictures cannot be read. Raises BadInput if the options are wrong."""
    files = images.picture_files(options.images)
    check_report(options.json, files)
    models = load_models(select_device(options.device), options.detector)
    report = []
    for file in tracked(files, "detect"):
        try:
            image = images.read(file)
        except images.ImageError as error:
            complain(str(error))
            continue
        faces = order(find(image.to(models.device), models, options.detection), options.order)
        report.append({"image": str(file), "faces": _entries(faces)})
        say(f"{file}: {faces_text(len(faces))}")
    return finish_report(options.json, report, len(report), len(files))


def _entries(faces: FaceSet) -> list[dict]:
    """The report's entry for each face; coordinates are in pixels, `landmarks` are the 68 of iBUG."""
    columns = (faces.box, faces.score, faces.landmarks, faces.mesh[:, list(mesh.IBUG68)])
    return [
        {
            "box": rounded(box),
            "score": round(score, 4),
            "points": [rounded(point) for point in points],
            "landmarks": [rounded(point) for point in landmarks],
        }
        for box, score, points, landmarks in zip(*(column.tolist() for column in columns), strict=True)
    ]
