"""Every node on what people connect to it by mistake, and on what other packs and a second copy of this one give it.

All runs go through `Run`, which also checks what holds always: inputs are left alone (ComfyUI caches them), random
numbers of others too, outputs are finite, on the processor, in the host's number format, and the page can read `ui`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import importlib
import importlib.util
import itertools
import json
import math
import pickle
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parents[2]
INFO: dict[str, Any] = {
    name: node
    for name, node in json.loads((ROOT / "tests" / "workflows" / "object_info.json").read_text("utf-8")).items()
    if name.startswith("CSCS_")
}
NODES = sorted(INFO)
SIDE = 128  # px of the usual picture
MODELS = ("CSCS_DETECTOR", "CSCS_SWAPPER", "CSCS_RESTORER")
VALUES = ("CSCS_FACES", "CSCS_CROPS", "CSCS_IDENTITY")
BESIDES = {  # connected although it is optional, or chosen so that a run is quick
    "CSCS_FaceSwap": {"source": "IMAGE", "resolution": "256"},
    "CSCS_CrossDomain": {"source": "IMAGE", "texture": 0.0},
    "CSCS_ReAge": {"resolution": "256"},
    "CSCS_ProxyPairs": {"size": 64},
    "CSCS_SourceSurrogate": {"others": "CSCS_CROPS"},
    "CSCS_TargetSurrogate": {"donors": "CSCS_CROPS"},
    "CSCS_SelectFaces": {"reference_threshold": -1.0},
    "CSCS_SaveIdentity": {"overwrite": True},
    "CSCS_LoadIdentity": {"file": "example person 1"},
}
PEOPLE = {("CSCS_FaceIdentity", "image"), ("CSCS_FaceSwap", "source"), ("CSCS_FaceSwap", "reference")}
PEOPLE |= {("CSCS_ReAge", "reference"), ("CSCS_CrossDomain", "source")}  # a person is read of these
SAME = {  # outputs that show the first IMAGE, changed only where faces are
    "CSCS_CrossDomain": "image",
    "CSCS_DetectFaces": "preview",
    "CSCS_FaceSwap": "image",
    "CSCS_PasteFaces": "image",
    "CSCS_PreviewFaces": "image",
    "CSCS_ReAge": "image",
    "CSCS_RestoreFaces": "image",
    "CSCS_SaveImage": "image",
}


WORDS = {"CSCS_SelectFaces": "skipped", "CSCS_TrackFaces": "report", "CSCS_FaceReport": "report"}
WORDS |= dict.fromkeys(("CSCS_CrossDomain", "CSCS_DetectFaces", "CSCS_FaceSwap", "CSCS_ProxyPairs"), "report")
WORDS |= dict.fromkeys(("CSCS_ReAge", "CSCS_RestoreFaces"), "report")
MASKED = ["CSCS_FaceMask", "CSCS_FaceSwap", "CSCS_PasteFaces", "CSCS_RestoreFaces", "CSCS_SelectFaces"]
NEEDED = {  # to make a node use the socket
    **{("CSCS_TargetSurrogate", part): {"kind": "swapper"} for part in ("swapper", "identity")},
    **{("CSCS_FaceMask", part): {"kind": "attention"} for part in ("swapper", "identity")},
}
_FIELDS = ("frame", "box", "landmarks", "mesh", "score", "track", "pixels", "mask", "matrix", "crops", "embedding")
FOREIGN = [
    {"boxes": [[0, 0, 1, 1]], "frame": 0},
    {},
    "face",
    [1, 2],
    0.5,
    torch.zeros(1, 3),
    SimpleNamespace(boxes=[]),
    SimpleNamespace(**dict.fromkeys((*_FIELDS, "weight", "encoder", "role", "name", "device"), "x")),
    SimpleNamespace(**dict.fromkeys((*_FIELDS, "weight"), np.zeros((1, 4)))),
    SimpleNamespace(
        **{name: torch.zeros(row, 4) for row, name in enumerate((*_FIELDS, "weight"))},
    ),
]


def wired(name: str, *needs: str) -> dict[str, str]:
    """The sockets of a node, by their types."""
    parts = [INFO[name]["input"].get(need, {}) for need in needs or ("required", "optional")]
    return {part: kind for some in parts for part, (kind, *_) in some.items()}


def sockets(*kinds: str) -> list[Any]:
    """(node, input) for every input of these types."""
    return [
        pytest.param(name, part, id=f"{name[5:]}-{part}")
        for name in NODES
        for part, kind in wired(name).items()
        if kind in kinds
    ]


def person(number: int, side: int = SIDE) -> Tensor:
    """An example person as a small IMAGE."""
    photo = Image.open(ROOT / "cscs_core" / "examples" / f"person_{number}.jpg").convert("RGB").resize((side, side))
    return torch.from_numpy(np.array(photo))[None].float() / 255


def tensors(value: Any) -> Iterator[Tensor]:
    """All of a value, whatever it is wrapped in."""
    if isinstance(value, Tensor):
        yield value
    elif dataclasses.is_dataclass(value):
        for part in dataclasses.fields(value):
            yield from tensors(getattr(value, part.name))
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def same(a: Any, b: Any) -> bool:
    """Equal bit for bit, of whatever class."""
    pairs = list(itertools.zip_longest(tensors(a), tensors(b)))
    return all(x.shape == y.shape and x.dtype == y.dtype and torch.equal(bits(x), bits(y)) for x, y in pairs)


def bits(value: Tensor) -> Tensor:
    """Numbers that are equal to themselves."""
    return torch.nan_to_num(value, nan=-99.0) if value.is_floating_point() else value


def images(name: str, results: dict[str, Any]) -> list[Tensor]:
    """The IMAGEs and MASKs that a node gave."""
    pairs = zip(results.values(), INFO[name]["output"], strict=True)
    return [value for value, kind in pairs if kind in ("IMAGE", "MASK")]


def dice() -> list[Any]:
    """Where the random numbers of everybody are."""
    return [bytes(torch.random.get_rng_state().numpy()), random.getstate(), pickle.dumps(np.random.get_state())]


@dataclass
class Run:
    """A node with its defaults and usual values but for what is given, as the host runs it."""

    pack: Any
    state: Any
    usual: dict[str, Any] = field(default_factory=dict)  # by type of socket

    def inputs(self, name: str, **given: Any) -> dict[str, Any]:
        widgets = {}
        for part in self.pack.nodes[name].GET_SCHEMA().inputs:
            if hasattr(part, "default"):
                widgets[part.id] = part.options[0] if part.io_type == "COMBO" and not part.default else part.default
        known = {**wired(name, "required"), **BESIDES.get(name, {})}
        values = {part: self.usual.get(kind, kind) for part, kind in known.items() if part not in widgets}
        chosen = {part: value for part, value in BESIDES.get(name, {}).items() if part in widgets}
        return {**widgets, **values, **chosen, **given}

    def __call__(self, name: str, **given: Any) -> dict[str, Any]:
        inputs = self.inputs(name, **given)
        before = [value.clone() for value in tensors(inputs)]
        state = dice()
        with torch.inference_mode():
            output = self.pack.nodes[name].execute(**inputs)
        assert same(before, list(tensors(inputs))), "an input was written to"
        assert dice() == state, "random numbers of others were used"
        json.dumps(output.ui, allow_nan=False)
        results = dict(zip(INFO[name]["output_name"], output.result, strict=True))
        for (part, value), kind in zip(results.items(), INFO[name]["output"], strict=True):
            self.check(name, part, value, kind)
        return results

    def check(self, name: str, part: str, value: Any, kind: str) -> None:
        for one in tensors(value):
            assert one.device.type == "cpu", f"{part} is not where the host wants it"
        if kind in ("IMAGE", "MASK") and name != "CSCS_SaveImage":
            assert value.dtype == self.state.intermediate, f"{part} is not in the host's number format"
            assert value.isfinite().all(), f"{part} is not finite"
            assert value.ndim == (4 if kind == "IMAGE" else 3) and (kind == "MASK" or value.shape[-1] == 3)
        if kind == "CSCS_CROPS":
            assert value.pixels.dtype == torch.float32 and value.pixels.isfinite().all()


@pytest.fixture(scope="module")
def host(pack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The host's state and folders, for all tests here: networks are loaded once."""
    networks = pack.module("nodes.loaded")
    caches = (networks._models, networks._swapper, networks._restorer)
    folders: Any = importlib.import_module("folder_paths")
    management: Any = importlib.import_module("comfy.model_management")
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.mktemp("host")
        patch.setattr(folders, "models_dir", str(base))
        patch.setitem(folders.folder_names_and_paths, "cscs", ([str(base / "cscs")], set()))
        for kind in ("output", "input", "temp", "user"):
            patch.setattr(folders, f"{kind}_directory", str(base / kind))
        patch.setattr(management, "state", management.State())
        for cache in caches:
            cache.cache_clear()
        yield management.state
        for cache in caches:
            cache.cache_clear()


@pytest.fixture(scope="module")
def runs(pack: Any, host: Any) -> Run:
    """Every node, and values of every type: of one picture with one face."""
    run = Run(pack, host)
    run.usual = {"IMAGE": person(1), "MASK": torch.ones(1, SIDE, SIDE)}
    run.usual["CSCS_FACES"] = run("CSCS_DetectFaces")["faces"]
    run.usual["CSCS_CROPS"] = run("CSCS_AlignFaces", resolution="256")["crops"]
    run.usual["CSCS_IDENTITY"] = run("CSCS_FaceIdentity", image=person(2))["identity"]
    choices = run("CSCS_LoadModel")
    run.usual |= dict(zip(MODELS, [choices[role] for role in ("detector", "swapper", "restorer")], strict=True))
    return run


@pytest.fixture
def run(runs: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(runs.state, "intermediate", torch.float32)
    return runs


@pytest.fixture(scope="module")
def nobody(pack: Any, runs: Run) -> dict[str, Any]:
    """Values of a picture without a face."""
    return {
        "CSCS_FACES": pack.module("cscs_core.types").FaceSet.empty(),
        "CSCS_CROPS": runs.usual["CSCS_CROPS"][[]],
    }


@pytest.fixture(scope="module")
def plain(runs: Run) -> Any:
    """What a node gives for the usual values, made once."""
    return functools.cache(lambda name: runs(name))


@pytest.fixture(scope="module")
def full(runs: Run) -> Any:
    """The same with every socket connected."""
    return functools.cache(lambda name: runs(name, **everything(runs, name)))


def everything(run: Run, name: str) -> dict[str, Any]:
    """A value for every socket of a node."""
    return {part: run.usual[kind] for part, kind in wired(name).items() if kind in run.usual}


def pictures(name: str) -> list[str]:
    """The inputs of a node that take the picture in question."""
    return [part for part, kind in wired(name, "required").items() if kind == "IMAGE" and (name, part) not in PEOPLE]


def found_in(name: str, image: Tensor, values: dict[str, Any]) -> dict[str, Any]:
    """A picture for a node, and what was found in it."""
    rest = {part: values[kind] for part, kind in wired(name, "required").items() if kind in values}
    return {**rest, **dict.fromkeys(pictures(name), image)}


def assert_near(a: Any, b: Any) -> None:
    for one, other in zip(tensors(a), tensors(b), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, equal_nan=True)


# Usual values, unconnected inputs, number formats


@pytest.mark.parametrize("name", NODES)
def test_what_is_optional_may_be_unconnected_or_connected_all_at_once(
    run: Run, plain: Any, full: Any, name: str
) -> None:
    assert plain(name) and full(name)


def test_a_person_to_put_in_must_be_connected_and_both_nodes_say_so(run: Run) -> None:
    for name in ("CSCS_FaceSwap", "CSCS_CrossDomain"):
        with pytest.raises(ValueError, match=r"connect source .* or identity"):
            run(name, source=None)


def test_attention_says_what_it_needs(run: Run) -> None:
    with pytest.raises(ValueError, match="connect identity and swapper"):
        run("CSCS_FaceMask", kind="attention")


@pytest.mark.parametrize("name", NODES)
def test_half_precision_and_a_fourth_channel_give_the_same_but_for_rounding(
    run: Run, plain: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    expected = plain(name)
    monkeypatch.setattr(run.state, "intermediate", torch.float16)
    given = {part: value for part, value in run.inputs(name).items() if isinstance(value, Tensor)}
    halved = {part: torch.cat([image, torch.rand_like(image[..., :1])], -1).half() for part, image in given.items()}
    for a, b in zip(images(name, expected), images(name, run(name, **halved)), strict=True):
        assert (a - b.float()[..., : a.shape[-1]]).abs().mean() < 0.004


def test_random_numbers_of_others_are_left_alone_while_networks_are_loaded(run: Run) -> None:
    networks = run.pack.module("nodes.loaded")
    for cache in (networks._models, networks._swapper, networks._restorer):
        cache.cache_clear()
    run("CSCS_FaceSwap", restorer="lite")


# Pictures


@pytest.mark.parametrize("name", ["CSCS_DetectFaces", "CSCS_FaceIdentity", "CSCS_FaceSwap"])
def test_a_channel_alone_is_grey(run: Run, name: str) -> None:
    used = [part for part, value in run.inputs(name).items() if isinstance(value, Tensor)]
    grey = run.usual["IMAGE"].mean(-1, keepdim=True)
    one, three = (run(name, **dict.fromkeys(used, image)) for image in (grey, grey.expand(-1, -1, -1, 3)))
    assert same(one, three)


@pytest.mark.parametrize("name", [name for name in NODES if pictures(name)])
def test_an_empty_batch_gives_nothing(run: Run, nobody: dict[str, Any], name: str) -> None:
    none = torch.zeros(0, SIDE, SIDE, 3)
    results = run(name, **found_in(name, none, nobody))
    if name in SAME:
        assert results[SAME[name]].shape == none.shape
    if name in WORDS:
        assert results[WORDS[name]] in ("no images received", "no faces received", "no face found")


@pytest.mark.parametrize("size", [(1, 1, 3), (3, 400, 1)], ids=str)
@pytest.mark.parametrize("name", [name for name in NODES if pictures(name)])
def test_pictures_without_a_face_come_back_bit_for_bit(
    run: Run, nobody: dict[str, Any], name: str, size: tuple[int, int, int]
) -> None:
    flat = torch.rand(2, 1, 1, size[2]).expand(2, *size)
    results = run(name, **found_in(name, flat, nobody))
    if name in SAME:
        assert torch.equal(results[SAME[name]], flat.expand_as(results[SAME[name]]))
        assert not results.get("mask", torch.zeros(1)).any()


@pytest.mark.parametrize(("name", "part"), sorted(PEOPLE))
def test_a_person_is_not_read_of_nothing(run: Run, name: str, part: str) -> None:
    with pytest.raises(ValueError, match=f"{part} is an empty batch; connect at least one"):
        run(name, **{part: torch.zeros(0, SIDE, SIDE, 3)})
    with pytest.raises(ValueError, match=f"no face found in image 0 of {part}"):
        run(name, **{part: torch.zeros(2, 64, 48, 3)})


def test_pictures_of_faces_are_as_many_as_the_crops(run: Run) -> None:
    for count in (0, 2):
        with pytest.raises(ValueError, match=f"faces_image has {count} images, but there are 1 crops"):
            run("CSCS_PasteFaces", faces_image=torch.zeros(count, 64, 64, 3))


@pytest.mark.parametrize("name", [name for name in NODES if "IMAGE" in wired(name).values()])
def test_pixels_that_are_no_numbers_do_not_spread(run: Run, name: str) -> None:
    spoilt = run.usual["IMAGE"].clone()
    for column, value in enumerate((math.nan, math.inf, -math.inf, 7.0)):
        spoilt[:, 60:70, 50 + 9 * column] = value
    run(name, **{part: spoilt for part, kind in wired(name).items() if kind == "IMAGE"})


# Faces and crops


@pytest.mark.parametrize(("name", "part"), sockets("CSCS_FACES", "CSCS_CROPS"))
def test_no_faces_are_no_error_but_where_they_have_to_lend_something(
    run: Run, nobody: dict[str, Any], name: str, part: str
) -> None:
    nothing = {part: nobody[wired(name)[part]]}
    if part in ("others", "donors"):
        with pytest.raises(ValueError, match=f"{part} has no faces; connect Align Faces of photos with people"):
            run(name, **nothing)
        return
    results = run(name, **nothing)
    if name in SAME and part != "chosen":
        assert torch.equal(results[SAME[name]], run.usual["IMAGE"])


@pytest.mark.parametrize(
    ("name", "part"),
    [("CSCS_PasteFaces", "crops")]
    + [(name, "faces") for name in NODES if name != "CSCS_FaceSwap" and "faces" in wired(name)],
)
def test_faces_of_a_longer_batch_are_named(run: Run, name: str, part: str) -> None:
    rows = run.usual[wired(name)[part]]
    with pytest.raises(ValueError, match=f"{part} come from a batch of at least 4 images, but image has 1"):
        run(name, **{part: replace(rows, frame=rows.frame + 3)})


# Masks


@pytest.mark.parametrize("shape", [(150, 140), (2, 1, SIDE, SIDE), (0, SIDE, SIDE)], ids=str)
@pytest.mark.parametrize("name", MASKED)
def test_a_white_mask_of_any_size_and_number_of_dimensions_is_no_mask(
    run: Run, plain: Any, name: str, shape: tuple[int, ...]
) -> None:
    if (name, shape[0]) == ("CSCS_PasteFaces", 2):
        with pytest.raises(ValueError, match="mask has 2 images; connect one for each of the 1 crops, or a single one"):
            run(name, mask=torch.ones(shape))
        return
    assert_near(run(name, mask=torch.full(shape, 9.0, dtype=torch.float16)), plain(name))  # beyond 1, too


@pytest.mark.parametrize("black", [torch.zeros(1, 64, 64), torch.full((SIDE, SIDE), torch.nan)], ids=["zero", "nan"])
@pytest.mark.parametrize("name", MASKED)
def test_a_black_mask_and_the_placeholder_of_load_image_allow_nothing(run: Run, name: str, black: Tensor) -> None:
    results = run(name, mask=black)
    if name == "CSCS_SelectFaces":
        assert results["count"] == 0 and "only 0% of it lies in the mask" in results["skipped"]
        return
    assert not results["mask"].any()
    assert "image" not in results or torch.equal(results["image"], run.usual["IMAGE"])


def test_a_mask_that_does_not_reach_the_face_is_named_where_the_size_of_the_picture_is_not_known(run: Run) -> None:
    with pytest.raises(ValueError, match="the mask is 48 x 40 and a face lies outside it; use a mask of the same size"):
        run("CSCS_FaceMask", mask=torch.zeros(1, 40, 48))


def test_with_its_picture_face_mask_stretches_a_mask_of_any_size(run: Run, plain: Any) -> None:
    image, crops = run.usual["IMAGE"], run.usual["CSCS_CROPS"]
    assert_near(run("CSCS_FaceMask", mask=torch.ones(1, 40, 48), image=image), plain("CSCS_FaceMask"))
    assert not run("CSCS_FaceMask", mask=torch.zeros(1, 40, 48), image=image)["mask"].any()
    with pytest.raises(ValueError, match="crops come from a batch of at least 4 images, but image has 1"):
        run("CSCS_FaceMask", image=image, crops=replace(crops, frame=crops.frame + 3))


# Values of other packs, and of a second copy of this one


@pytest.mark.parametrize(("name", "part"), sockets(*VALUES, *MODELS))
def test_a_value_of_another_pack_is_refused_by_the_name_of_the_input(run: Run, name: str, part: str) -> None:
    kind = wired(name)[part]
    for foreign in FOREIGN:
        inputs = {**everything(run, name), **NEEDED.get((name, part), {}), part: foreign}
        said = kind[5:].lower() if kind in MODELS else part
        with pytest.raises(ValueError, match=f"{said} holds a .*connect|unknown {said} 'face'"):
            run(name, **inputs)


@pytest.fixture(scope="module")
def copy(pack: Any) -> Iterator[Any]:
    """The pack loaded once more under another name, as a second folder in custom_nodes."""
    name = "/somewhere/else/cscs"
    with pytest.MonkeyPatch.context() as patch:
        spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py")
        assert spec and spec.loader
        entry = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, name, entry)
        spec.loader.exec_module(entry)
        listed = asyncio.run(asyncio.run(entry.comfy_entrypoint()).get_node_list())
        yield type(pack)(entry, {node.GET_SCHEMA().node_id: node for node in listed})


def of_copy(copy: Any, value: Any) -> Any:
    """A value as the second copy would have made it."""
    if not dataclasses.is_dataclass(value):
        return value
    module = "nodes.loaded" if type(value).__name__ == "Choice" else "cscs_core.types"
    kind = getattr(copy.module(module), type(value).__name__)
    assert kind is not type(value)
    return kind(*(of_copy(copy, getattr(value, part.name)) for part in dataclasses.fields(kind)))


@pytest.mark.parametrize("name", [name for name in NODES if {*VALUES, *MODELS} & {*wired(name).values()}])
def test_values_of_a_second_copy_of_the_pack_are_taken_as_ours(run: Run, full: Any, copy: Any, name: str) -> None:
    ours = {part: value for part, value in everything(run, name).items() if dataclasses.is_dataclass(value)}
    found = run(name, **{**everything(run, name), **{part: of_copy(copy, value) for part, value in ours.items()}})
    assert same(found, full(name))
    assert [type(value) for value in found.values()] == [type(value) for value in full(name).values()]


def test_faces_of_an_older_copy_that_knew_no_age_are_taken_with_unknown_ages(run: Run, plain: Any) -> None:
    names = ("frame", "box", "landmarks", "mesh", "score", "track")
    older = make_dataclass("FaceSet", names)(*(getattr(run.usual["CSCS_FACES"], name) for name in names))
    assert same(run("CSCS_SelectFaces", faces=older), plain("CSCS_SelectFaces"))
