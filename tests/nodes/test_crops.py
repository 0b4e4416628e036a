"""Align, swap, mask and paste as nodes: on made-up faces, and with the bundled networks on the example people."""

from __future__ import annotations

import importlib
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

PEOPLE = Path(__file__).parents[2] / "cscs_core" / "examples"
SWAP = {
    "swapper": "lite",
    "faces_order": "large-small",
    "faces_index": "",
    "reference_threshold": 0.5,
    "strength": 1.0,
    "resolution": "256",
    "detection_threshold": 0.5,
}
HULL = {"kind": "hull", "grow": 0.0, "feather": 0.0, "keep_eyes": False, "keep_mouth": False, "combine": "multiply"}
WHOLE = {**HULL, "kind": "whole"}


def picture(count: int = 2) -> Tensor:
    """An IMAGE of slow waves, (count, 120, 160, 3)."""
    y, x = torch.meshgrid(torch.arange(120) / 23, torch.arange(160) / 17, indexing="ij")
    waves = torch.stack([x.sin() * y.cos(), (x + y).sin(), (x - 2 * y).cos()], -1)
    return torch.stack([waves.roll(frame, -1) for frame in range(count)]) * 0.4 + 0.5


def person(number: int) -> Tensor:
    """An example person as an IMAGE."""
    return torch.from_numpy(np.array(Image.open(PEOPLE / f"person_{number}.jpg").convert("RGB")))[None].float() / 255


@pytest.fixture
def run(pack: Any, host: Any) -> Any:
    """A node by the last part of its id."""
    return lambda name, *args, **inputs: pack.nodes[f"CSCS_{name}"].execute(*args, **inputs)


@pytest.fixture
def faces(pack: Any) -> Any:
    """Mean faces as (frame, x, y, distance of the eyes)."""
    mesh, types = pack.module("cscs_core.ops.mesh"), pack.module("cscs_core.types")

    def some(*places: tuple[int, float, float, float]) -> Any:
        points = torch.stack([mesh.mean_face() * eyes + torch.tensor([x, y]) for _, x, y, eyes in places])
        frame = torch.tensor([place[0] for place in places])
        return types.FaceSet(
            frame, mesh.box(points), mesh.five(points), points, torch.ones(len(places)), torch.full_like(frame, -1)
        )

    return some


@pytest.fixture
def three(faces: Any) -> Any:
    """One face in the first frame, two in the second."""
    return faces((0, 60.0, 50.0, 20.0), (1, 40.0, 40.0, 18.0), (1, 110.0, 50.0, 22.0))


@pytest.fixture
def none(pack: Any) -> Any:
    return pack.module("cscs_core.types").FaceSet.empty()


@pytest.fixture
def crops(run: Any, three: Any) -> Any:
    return run("AlignFaces", picture(), three, "ffhq_512", "128").result[0]


# Align Faces


def test_every_face_is_cut_out_of_its_own_frame(run: Any, three: Any, pack: Any) -> None:
    image = picture()
    crops, images, masks = run("AlignFaces", image, three, "arcface_128", "256").result
    assert crops.frame.tolist() == [0, 1, 1]
    expected = pack.module("cscs_core.faces.align").align(image.movedim(-1, 1), three, "arcface_128", 256)
    torch.testing.assert_close(crops.pixels, expected.pixels)
    torch.testing.assert_close(crops.matrix, expected.matrix)
    assert torch.equal(images, crops.pixels.movedim(1, -1)) and images.shape == (3, 256, 256, 3)
    assert masks.shape == (3, 256, 256)
    for mask, nose in zip(masks, crops.landmarks[:, 2].round().long().tolist(), strict=True):
        assert mask[nose[1], nose[0]] == 1 and not mask[0].any()


def test_no_faces_are_no_crops(run: Any, none: Any) -> None:
    output = run("AlignFaces", picture(), none, "ffhq_512", "512")
    crops, images, masks = output.result
    assert len(crops) == 0 and images.shape == (0, 512, 512, 3) and masks.shape == (0, 512, 512)
    assert output.ui == {"cscs_badge": ["0 faces aligned"]}


def test_faces_of_a_longer_batch_are_refused(run: Any, three: Any) -> None:
    with pytest.raises(ValueError, match="faces come from a batch of at least 2 images, but image has 1"):
        run("AlignFaces", picture(1), three, "ffhq_512", "128")


# Paste Faces


def test_without_crops_the_image_comes_back_bit_for_bit(run: Any, none: Any) -> None:
    image = torch.rand(2, 60, 80, 3)
    crops = run("AlignFaces", image, none, "ffhq_512", "128").result[0]
    edited = torch.rand(1, 64, 64, 3)
    for inputs in ({}, {"faces_image": edited}, {"mask": torch.ones(1, 64, 64)}):
        pasted, mask = run("PasteFaces", image, crops, 0.1, 0.5, **inputs).result
        assert torch.equal(pasted, image) and not mask.any()


def test_frames_without_crops_and_pixels_outside_come_back_bit_for_bit(run: Any, crops: Any) -> None:
    image = picture(3)
    pasted, mask = run("PasteFaces", image, crops, 0.0, 0.0, faces_image=torch.ones(3, 64, 64, 3)).result
    assert torch.equal(pasted[2], image[2]) and not mask[2].any()
    assert torch.equal(pasted[mask == 0], image[mask == 0])
    assert (pasted[mask == 1] > 0.999).all() and (mask == 1).any(2).any(1).tolist() == [True, True, False]


def test_crops_laid_back_as_they_are_change_next_to_nothing(run: Any, crops: Any) -> None:
    output = run("PasteFaces", picture(), crops, 0.0, 0.0)
    pasted, mask = output.result
    assert (pasted - picture()).abs().max() < 0.01 and mask.mean() > 0.2
    assert output.ui["cscs_badge"] == ["3 faces pasted"] and len(output.ui["cscs_compare"]) == 2


@pytest.mark.parametrize(("count", "height", "words"), [(2, 64, "has 2 images, but there are 3"), (3, 32, "square")])
def test_edited_pictures_that_do_not_fit_the_crops_are_refused(
    run: Any, crops: Any, count: int, height: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        run("PasteFaces", picture(), crops, 0.0, 0.0, faces_image=torch.ones(count, height, 64, 3))


def test_a_mask_on_the_crops_limits_each_of_them(run: Any, crops: Any) -> None:
    white = torch.ones(3, 128, 128, 3)
    only = torch.zeros(3, 32, 32)
    only[1] = 1
    _, mask = run("PasteFaces", picture(), crops, 0.0, 0.0, white, only).result
    _, alone = run("PasteFaces", picture(), crops[1:2], 0.0, 0.0).result
    torch.testing.assert_close(mask, alone)
    for shared in (torch.zeros(1, 16, 16), torch.zeros(16, 16)):
        assert not run("PasteFaces", picture(), crops, 0.0, 0.0, white, shared).result[1].any()
    with pytest.raises(ValueError, match="mask has 2 images; connect one for each of the 3 crops, or a single one"):
        run("PasteFaces", picture(), crops, 0.0, 0.0, white, torch.ones(2, 16, 16))


def test_colour_match_takes_a_tint_away(run: Any, crops: Any) -> None:
    tinted = crops.pixels.movedim(1, -1) * torch.tensor([0.6, 0.7, 0.9])
    tints = [
        (run("PasteFaces", picture(), crops, 0.0, strength, tinted).result[0] - picture()).abs().mean()
        for strength in (0.0, 0.5, 1.0)
    ]
    assert tints[0] > 1.8 * tints[1] > 2.5 * tints[2]


def test_another_copy_of_the_packs_crops_are_taken(run: Any, crops: Any, pack: Any) -> None:
    names = [field.name for field in fields(crops)]
    other = make_dataclass("Crops", names)(*(getattr(crops, name) for name in names))
    assert torch.equal(
        run("PasteFaces", picture(), other, 0.0, 0.0).result[0],
        run("PasteFaces", picture(), crops, 0.0, 0.0).result[0],
    )


# Face Mask


def test_the_mask_of_each_crop_is_that_of_the_core(run: Any, crops: Any, pack: Any) -> None:
    masks = pack.module("cscs_core.faces.mask")
    options = {"kind": "box", "grow": 0.05, "feather": 0.03, "keep_eyes": True, "keep_mouth": False}
    done, mask = run("FaceMask", crops, **options, combine="replace").result
    expected = masks.apply_mask(crops, masks.MaskOptions(**options, combine="replace"))
    torch.testing.assert_close(done.mask, expected.mask)
    assert torch.equal(mask, done.mask[:, 0]) and torch.equal(done.pixels, crops.pixels)


def test_a_mask_of_the_image_is_seen_by_the_crops_of_its_frame(run: Any, crops: Any) -> None:
    mask = torch.zeros(2, 120, 160)
    mask[1] = 1
    done = run("FaceMask", crops, **WHOLE, mask=mask).result[0]
    assert done.mask.flatten(1).amin(1).tolist() == pytest.approx([0, 1, 1])
    half = torch.zeros(120, 160)
    half[:, :60] = 1  # the nose of the first face is at x = 60
    first = run("FaceMask", crops, **WHOLE, mask=half).result[0].mask[0, 0]
    assert (first[:, :50] > 0.999).all() and not first[:, 78:].any()


def test_a_mask_smaller_than_the_image_is_told(run: Any, crops: Any) -> None:
    with pytest.raises(ValueError, match="the mask is 64 x 64 and a face lies outside it"):
        run("FaceMask", crops, **HULL, mask=torch.zeros(1, 64, 64))


def test_with_the_image_a_mask_of_any_size_is_stretched_to_it(run: Any, crops: Any) -> None:
    left = torch.zeros(1, 120, 160)
    left[..., :80] = 1
    expected = run("FaceMask", crops, **WHOLE, mask=left).result[1]
    assert expected.flatten(1).mean(1).tolist() == pytest.approx([0.85, 1.0, 0.0], abs=0.15)
    for scale in (0.5, 2):
        other = torch.nn.functional.interpolate(left[None], scale_factor=scale, mode="area")[0]
        done = run("FaceMask", crops, **WHOLE, mask=other, image=picture()).result[1]
        torch.testing.assert_close(done.round(), expected.round(), atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="crops come from a batch of at least 2 images, but image has 1"):
        run("FaceMask", crops, **WHOLE, image=picture(1))


def test_a_mask_that_lets_nothing_change_says_so_on_the_node(run: Any, crops: Any) -> None:
    output = run("FaceMask", crops, **WHOLE, mask=torch.zeros(1, 64, 64), image=picture())
    assert not output.result[1].any()
    assert output.ui == {"cscs_badge": ["3 masks, all black: nothing can change"]}


def test_attention_asks_for_what_it_needs(run: Any, crops: Any) -> None:
    with pytest.raises(ValueError, match="connect identity and swapper"):
        run("FaceMask", crops, **{**HULL, "kind": "attention"})


def test_no_crops_have_no_masks(run: Any, none: Any) -> None:
    crops = run("AlignFaces", picture(), none, "ffhq_512", "128").result[0]
    done, mask = run("FaceMask", crops, **HULL, mask=torch.zeros(1, 64, 64)).result
    assert len(done) == 0 and mask.shape == (0, 128, 128)


# Swap Faces, with the bundled networks


@pytest.fixture
def identity(run: Any) -> Any:
    return run("FaceIdentity", person(5), "large-small").result[0]


@pytest.mark.parametrize(
    ("template", "resolution", "words"),
    [
        ("ffhq_512", "128", "choose resolution 256 or 512 .the crops have 128. in Align Faces"),
        ("arcface_128", "256", "choose template ffhq_512 .the crops use another. in Align Faces"),
    ],
)
def test_crops_that_the_swapper_does_not_take_are_told_with_what_to_choose(
    run: Any, three: Any, identity: Any, template: str, resolution: str, words: str
) -> None:
    crops = run("AlignFaces", picture(), three, template, resolution).result[0]
    with pytest.raises(ValueError, match=words):
        run("SwapFaces", crops, identity, 1.0)


def test_lite_says_that_it_has_no_attention(run: Any, three: Any, identity: Any, pack: Any) -> None:
    crops = run("AlignFaces", picture(), three, "ffhq_512", "128").result[0]
    lite = pack.module("nodes.loaded").Choice("swapper", "lite")
    with pytest.raises(ValueError, match="no attention mask; only cscs"):
        run("FaceMask", crops, **{**HULL, "kind": "attention"}, identity=identity, swapper=lite)


def test_attention_is_that_of_the_swapper_for_each_crop(
    run: Any, crops: Any, identity: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite = type(pack.module("cscs_core.faces.swappers.lite").load_lite())
    monkeypatch.setattr(lite, "attention", lambda self, crops, person: crops.pixels[:, :1], raising=False)
    choice = pack.module("nodes.loaded").Choice("swapper", "lite")
    done = run("FaceMask", crops, **{**WHOLE, "kind": "attention"}, identity=identity, swapper=choice).result[0]
    masks = pack.module("cscs_core.faces.mask")
    expected = masks.apply_mask(crops, masks.MaskOptions("attention"), attention=crops.pixels[:, :1])
    torch.testing.assert_close(done.mask, expected.mask)


def test_faces_are_counted_and_cancel_comes_between_them(
    run: Any, three: Any, identity: Any, host: Any, monkeypatch: pytest.MonkeyPatch, pack: Any
) -> None:
    crops = run("AlignFaces", picture(), three, "ffhq_512", "256").result[0]
    swapped, images = run("SwapFaces", crops, identity, 1.0).result
    bar = importlib.import_module("comfy.utils").ProgressBar.last
    assert (bar.current, bar.total) == (3, 3)
    assert swapped.frame.tolist() == [0, 1, 1] and torch.equal(images, swapped.pixels.movedim(1, -1))
    done: list[int] = []

    def swap(part: Any, *_: object) -> Any:
        done.append(len(part))
        host.interrupt = len(done) == 2
        return part

    monkeypatch.setattr(pack.module("nodes.swap_crops"), "swap", swap)
    with pytest.raises(importlib.import_module("comfy.model_management").InterruptProcessingException):
        run("SwapFaces", crops, identity, 1.0)
    assert done == [1, 1]


def test_no_crops_are_swapped_to_none(run: Any, none: Any, identity: Any) -> None:
    crops = run("AlignFaces", picture(), none, "ffhq_512", "512").result[0]
    swapped, images = run("SwapFaces", crops, identity, 1.0).result
    assert len(swapped) == 0 and images.shape == (0, 512, 512, 3)


@pytest.mark.parametrize(
    "post_process",
    [
        {"keep_eyes": False, "keep_mouth": False, "feather": 0.0, "colour_match": 0.0},
        {"keep_eyes": True, "keep_mouth": True, "feather": 0.05, "colour_match": 0.5},
    ],
    ids=["plain", "finished"],
)
def test_the_nodes_one_by_one_do_what_face_swap_does(run: Any, identity: Any, post_process: dict[str, Any]) -> None:
    target = person(2)
    kept = {name: post_process[name] for name in ("keep_eyes", "keep_mouth")}
    whole = run("FaceSwap", target, **SWAP, identity=identity, **post_process).result
    faces = run("DetectFaces", target, "large-small", 0.5).result[0]
    crops = run("AlignFaces", target, faces, "ffhq_512", "256").result[0]
    crops = run("SwapFaces", crops, identity, 1.0).result[0]
    crops = run("FaceMask", crops, **{**WHOLE, **kept}).result[0]
    pasted, mask = run("PasteFaces", target, crops, post_process["feather"], post_process["colour_match"]).result
    torch.testing.assert_close(pasted, whole[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(mask, whole[1], atol=1e-5, rtol=0)
    assert (pasted - target).abs().max() > 0.1
    eyes, mouth = faces.landmarks[0, [0, 1]].long().tolist(), faces.landmarks[0, [3, 4]].long().tolist()
    for (x, y), keep in [(eye, post_process["keep_eyes"]) for eye in eyes] + [
        (m, post_process["keep_mouth"]) for m in mouth
    ]:
        assert torch.equal(pasted[0, y, x], target[0, y, x]) == keep


# A crowd


def test_cancel_comes_between_the_faces_of_one_frame(
    run: Any, faces: Any, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    crowd = faces(*[(0, 50.0 + 5 * place, 50.0, 18.0) for place in range(12)])
    crops = run("AlignFaces", picture(1), crowd, "ffhq_512", "128").result[0]
    management = importlib.import_module("comfy.model_management")
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", lambda: asked.append(1))
    for name, inputs in {
        "AlignFaces": (picture(1), crowd, "ffhq_512", "128"),
        "FaceMask": (crops, *HULL.values()),
        "PasteFaces": (picture(1), crops, 0.0, 0.5),
    }.items():
        asked.clear()
        run(name, *inputs)
        assert len(asked) > len(crowd), name


def test_cancel_comes_between_pictures_that_are_drawn_and_shown(
    run: Any, none: Any, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    management = importlib.import_module("comfy.model_management")
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", lambda: asked.append(1))
    run("PreviewFaces", picture(5), none, "faces", True, False)
    assert len(asked) == 2 * 5


def test_the_rows_of_one_picture_are_those_of_a_batch_of_one(pack: Any, three: Any, crops: Any) -> None:
    of = pack.module("nodes.batches").take_frame
    assert torch.equal(of(three, 1).box, three.box[1:]) and of(three, 1).frame.tolist() == [0, 0]
    assert torch.equal(of(crops, 0).pixels, crops.pixels[:1]) and len(of(crops, 7)) == 0


# Face Swap: what was added


def test_face_swap_gives_the_faces_of_all_frames_and_the_person_away(pack: Any, core: Any) -> None:
    output = pack.nodes["CSCS_FaceSwap"].execute(picture(2), **SWAP, source=picture(1))
    _, _, _, faces, identity = output.result
    assert faces.frame.tolist() == [0, 0, 1, 1]
    assert identity.embedding.shape == (1, 128)
    assert output.ui["cscs_badge"] == ["4 faces, similarity 0.50"]
    assert len(output.ui["cscs_compare"]) == len(output.ui["cscs_picker"]) == 2


def test_face_swap_without_faces_says_so_on_the_node(pack: Any, core: Any) -> None:
    core.faces, identity = 0, pack.nodes["CSCS_FaceIdentity"].execute(picture(1), "large-small").result[0]
    assert pack.nodes["CSCS_FaceSwap"].execute(picture(1), **SWAP, identity=identity).ui["cscs_badge"] == [
        "no face swapped"
    ]


def test_the_options_of_face_swap_reach_the_core(pack: Any, core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[list[int]] = []
    pipeline, restorer = pack.module("cscs_core.pipeline"), object()
    read = pipeline.identity_from

    def identity_from(*args: Any, **options: Any) -> Any:
        numbers.append(args[5] if len(args) > 5 else options["numbers"])
        return read(*args, **options)

    monkeypatch.setattr(pipeline, "identity_from", identity_from)
    networks = pack.module("nodes.loaded")
    ready = networks.ready_with

    def ready_to_swap(image: Tensor, swapper: object, detector: object, name: object) -> Any:
        assert name == "lite"
        return (*ready(image, swapper, detector), restorer)

    monkeypatch.setattr(networks, "ready_to_swap", ready_to_swap)
    pack.nodes["CSCS_FaceSwap"].execute(
        picture(1),
        **SWAP,
        source=picture(2),
        gender="female",
        source_faces_index=1,
        restorer="lite",
        restore_visibility=0.3,
        keep_mouth=True,
        colour_match=0.4,
        feather=0.1,
        codeformer_weight=0.9,
    )
    mask = pack.module("cscs_core.faces.mask").MaskOptions("whole", keep_mouth=True)
    assert numbers == [[1, 1]]
    assert core.options["face_filter"].gender == "female"
    restoration = pack.module("cscs_core.faces.restorers.base").Restoration(restorer, 0.3, 0.9)
    assert core.options["post_process"] == pipeline.PostProcess(mask, 0.1, 0.4, restoration)


def test_widgets_of_face_swap_only_ever_come_at_the_end(pack: Any) -> None:
    # A workflow's widgets_values are positional; these are the first release's.
    schema = pack.nodes["CSCS_FaceSwap"].GET_SCHEMA()
    widgets = [entry for entry in schema.inputs if entry.io_type in ("COMBO", "STRING", "FLOAT", "INT", "BOOLEAN")]
    names = [entry.id for entry in (*(w for w in widgets if not w.optional), *(w for w in widgets if w.optional))]
    assert names[:8] == [*SWAP, "detector"]
    assert all(entry.advanced and entry.optional for entry in widgets[8:])


def test_a_mask_on_the_crops_never_shows_more_than_their_own(run: Any, crops: Any) -> None:
    masked = run("FaceMask", crops, **{**HULL, "grow": -0.1}).result[0]
    own = run("PasteFaces", picture(), masked, 0.0, 0.0).result[1]
    limited = run("PasteFaces", picture(), masked, 0.0, 0.0, mask=torch.ones(1, 64, 64)).result[1]
    torch.testing.assert_close(limited, own)
    half = run("PasteFaces", picture(), masked, 0.0, 0.0, mask=torch.full((1, 64, 64), 0.5)).result[1]
    assert (half <= own).all() and half[:1].max() == pytest.approx(0.5, abs=1e-5)
