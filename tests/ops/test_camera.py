"""JPEG compression of tensors; that it is nearly a file's is shown in tests/surrogates/test_source.py."""

from __future__ import annotations

import torch

from cscs_core.ops import camera


def test_a_wide_image_is_compressed_as_its_parts_are(smooth):
    wide, quality = smooth(1, 32, 64), torch.tensor([40.0])
    left = camera.jpeg(wide[..., :32], quality)
    # Chroma is interpolated across the seam between the parts: two pixels to its left know of the right part.
    assert torch.equal(camera.jpeg(wide, quality)[..., :30], left[..., :30])
    assert not torch.equal(left, wide[..., :32])


def test_sides_that_are_no_whole_blocks_keep_their_size(smooth):
    image = smooth(2, 41, 23)
    done = camera.jpeg(image, torch.tensor([90.0, 10.0]))
    first, second = (done - image).abs().mean((1, 2, 3)).tolist()
    assert first < 0.01 < second < 0.1
