"""Facts about the models of others, and that they agree with each other."""

from __future__ import annotations

import re

import pytest

from cscs_core.hub.registry import EMBEDDINGS, GROUPS, MODELS, ModelSpec
from cscs_core.hub.store import Store
from cscs_core.models import ARCHITECTURES
from cscs_core.ops.geometry import TEMPLATES

EACH = pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS.keys())
SWAPPERS = {name: spec.swapper for name, spec in MODELS.items() if spec.swapper}


def test_the_cscs_trio_is_pinned():
    assert GROUPS["cscs"] == ("cscs_generator", "cscs_encoder", "cscs_adapter")
    trio = [MODELS[name] for name in GROUPS["cscs"]]
    assert [(spec.file, spec.bytes, spec.sha256) for spec in trio] == [
        ("cscs_256.onnx", 738639216, "664f8f7cab655b825fe8cf57ab90bfbcbb0acf75eab8e7771c824f18bdb28b67"),
        ("cscs_arcface_model.onnx", 261029411, "cd81a1745a736402d100d32c362918aee46d9a3f58c9c5ecbf0e415cf2df9dc0"),
        ("cscs_id_adapter.onnx", 262080575, "288ee88fa208e64846261f9c16f19362db000074b2f4c9000ea49b2311a6d55b"),
    ]
    assert {spec.repo for spec in trio} == {"netrunner-exe/Insight-Swap-models-onnx"}
    assert {spec.revision for spec in trio} == {"3aa552714fbef06da7c7a49d66c3313e1a444371"}
    assert all(spec.noncommercial and spec.fetchable and spec.path is None for spec in trio)


# As the checksum lists of several programs have them.
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("inswapper_128", "e4a3f08c"),
        ("inswapper_128_fp16", "6d51a927"),
        ("hyperswap_1a", "c0e98a8a"),
        ("hyperswap_1b", "51240317"),
        ("hyperswap_1c", "5528c2d7"),
        ("instyle_a", "0e0ef024"),
        ("instyle_b", "0870b6c7"),
        ("instyle_c", "6eaefc04"),
        ("simswap_512", "08c6ca9c"),
        ("ghost_1", "304a86bc"),
        ("ghost_2", "25b72c10"),
        ("ghost_3", "f471d4f3"),
        ("hififace", "9de97516"),
        ("w600k_r50", "4c06341c"),
        ("simswap_arcface", "58949c86"),
        ("ghost_arcface", "18bb8057"),
        ("crossface_simswap", "6452a261"),
        ("crossface_hififace", "dfb75f96"),
        ("scrfd_10g", "5838f7fe"),
        ("scrfd_2.5g", "bc24bb34"),
        ("gfpgan_1.4", "6548e54c"),
        ("codeformer", "9c3ae2ce"),
        ("restoreformer_plus_plus", "e5df99ed"),
        ("fran", "62c62598"),
    ],
)
def test_hashes_name_the_right_files(name: str, start: str):
    assert MODELS[name].sha256.startswith(start)


@EACH
def test_every_model_says_what_a_user_needs_to_know(spec: ModelSpec):
    assert MODELS[spec.name] is spec
    assert re.fullmatch("[0-9a-f]{64}", spec.sha256)
    assert spec.role in ("swapper", "encoder", "converter", "detector", "restorer", "ager")
    assert spec.arch == "onnx" or spec.arch in ARCHITECTURES
    assert spec.licence and spec.terms.strip() == spec.terms != ""
    assert spec.url.startswith("https://")
    assert "\n" not in spec.terms + spec.licence
    assert (spec.role == "swapper") == (spec.swapper is not None)
    assert spec.noncommercial or spec.licence in ("Apache-2.0", "MIT", "OpenRAIL-MS")


@EACH
def test_what_can_be_fetched_is_pinned_to_a_commit(spec: ModelSpec, tmp_path):
    assert (spec.repo is None) == (spec.revision is None) == (not spec.fetchable)
    if spec.fetchable:
        assert re.fullmatch("[0-9a-f]{40}", spec.revision or "")
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", spec.repo or "")
        assert spec.bytes
    assert Store(tmp_path).path(spec.file).parent == tmp_path


def test_names_files_and_hashes_are_each_of_one_model():
    specs = MODELS.values()
    for values in ([spec.file.lower() for spec in specs], [spec.sha256 for spec in specs]):
        assert len(set(values)) == len(MODELS)
    assert not GROUPS.keys() & MODELS.keys()
    assert {name for names in GROUPS.values() for name in names} <= MODELS.keys()


@pytest.mark.parametrize("swapper", SWAPPERS.values(), ids=SWAPPERS.keys())
def test_swappers_are_fed_what_there_is(swapper):
    assert swapper.template in TEMPLATES
    assert swapper.size in (128, 256, 512)
    assert swapper.embedding in EMBEDDINGS
    low, high = swapper.output
    # A picture goes out in the range in which it came in.
    assert {(0 - m) / s for m, s in zip(swapper.mean, swapper.std, strict=True)} == {low}
    assert {(1 - m) / s for m, s in zip(swapper.mean, swapper.std, strict=True)} == {high}


def test_embeddings_are_made_by_encoders_and_converters_that_are_listed():
    for names in EMBEDDINGS.values():
        assert MODELS[names[0]].role == "encoder"
        assert {MODELS[name].role for name in names} <= {"encoder", "converter"}
    assert {swapper.embedding for swapper in SWAPPERS.values()} == EMBEDDINGS.keys()


def test_templates_are_those_that_the_swappers_were_trained_with():
    assert {name: swapper.template for name, swapper in SWAPPERS.items()} == {
        "cscs_generator": "ffhq_512",
        **dict.fromkeys(("inswapper_128", "inswapper_128_fp16"), "arcface_128"),
        **dict.fromkeys(("hyperswap_1a", "hyperswap_1b", "hyperswap_1c"), "arcface_128"),
        **dict.fromkeys(("instyle_a", "instyle_b", "instyle_c"), "arcface_128"),
        **dict.fromkeys(("simswap_512", "ghost_1", "ghost_2", "ghost_3"), "arcface_112_v1"),
        "hififace": "mtcnn_512",
    }
