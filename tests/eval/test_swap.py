"""The measures of a swap, on faces whose answers are known."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from cscs_core.eval.swap import Seen, drawn, report, sheet
from cscs_core.ops import mesh
from cscs_core.ops.mesh import IBUG68


def people(count: int) -> Seen:
    """Everyone unlike everyone else, with the mean face."""
    points = (mesh.mean_face() * 50 + 100)[list(IBUG68)]
    return Seen(torch.eye(count), points.expand(count, -1, -1))


@pytest.mark.parametrize(("count", "total"), [(5, 5), (20, 50), (80, 50)])
def test_nobody_is_put_onto_themselves_and_everybody_is_somebodys_source_once(count: int, total: int):
    sources, targets = drawn(count, total)
    assert len(sources) == len(targets) == min(count, total)
    assert (sources != targets).all()
    assert len(sources.unique()) == len(sources)
    assert drawn(count, total)[1].equal(targets)


def test_a_perfect_swap_has_the_source_s_face_and_the_target_s_points():
    everyone = people(4)
    sources, targets = torch.tensor([0, 1]), torch.tensor([2, 3])
    done = report(Seen(everyone.identity[sources], everyone.points[targets]), everyone, sources, targets)
    wanted = {"cos_source": 1, "cos_target": 0, "nearer_to_source": 1, "top_1": 1, "pose_degrees": 0, "expression": 0}
    assert set(done) == set(wanted)
    for name, value in wanted.items():
        assert done[name].tolist() == pytest.approx([value] * 2, abs=1e-3)


def test_a_target_left_alone_is_nearer_to_the_target():
    everyone = people(4)
    sources, targets = torch.tensor([0, 1]), torch.tensor([2, 3])
    done = report(Seen(everyone.identity[targets], everyone.points[targets]), everyone, sources, targets)
    assert done["nearer_to_source"].tolist() == done["top_1"].tolist() == [0, 0]
    assert done["cos_target"].tolist() == [1, 1]


def test_the_sheet_has_a_cell_for_every_picture_in_order():
    places = (mesh.mean_face() * 20 + torch.tensor([40.0, 40.0])).expand(3, -1, -1)
    columns = [[torch.full((1, 3, 80, 80), shade + row / 10) for row in range(3)] for shade in (0.1, 0.5)]
    whole = sheet(columns, [places, places])
    assert isinstance(whole, Image.Image) and whole.size == (2 * (2 * 240 + 10), 2 * 240)

    def middle(row: int, column: int) -> int:
        pixel = whole.getpixel((row % 2 * 490 + column * 240 + 120, row // 2 * 240 + 120))
        assert isinstance(pixel, tuple)
        return int(pixel[0])

    shades = [middle(row, column) for row in range(3) for column in range(2)]
    assert shades == pytest.approx([26, 128, 51, 153, 77, 179], abs=1)
