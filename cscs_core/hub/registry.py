"""Third-party models that this package supports: what each is, its licence terms, and where to get it.

Data only: nothing here reads files or accesses the network. A file is identified by its sha256, whatever its name and
folder. Files with a pinned revision on the Hugging Face Hub can be downloaded; users add the others by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

_Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class SwapperSpec:
    """Input and output of a swapper: a crop c, RGB 0..1, goes in as (c - mean) / std; an image in the range `output`
    comes out."""

    template: str  # alignment of the crop, one of geometry.TEMPLATES
    size: int  # pixels, side of the crop
    mean: _Colour
    std: _Colour
    embedding: str  # kind of source embedding, one of EMBEDDINGS
    output: tuple[float, float]  # the network's values for black and white


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model file; None means unknown."""

    name: str
    role: str  # swapper, encoder, converter (of embeddings), detector, restorer or ager
    file: str  # its name in the store
    sha256: str
    licence: str
    noncommercial: bool
    terms: str  # one sentence shown to the user
    arch: str  # one of models.ARCHITECTURES, which it is converted to, or "onnx" if it runs as it is
    url: str  # where to download it by hand
    bytes: int | None = None
    repo: str | None = None  # owner/name on the Hugging Face Hub
    revision: str | None = None  # 40 hex digits: a commit, never a branch
    path: str | None = None  # path in the repository if not `file`
    swapper: SwapperSpec | None = None

    @property
    def fetchable(self) -> bool:
        """Whether it can be downloaded from the Hub at a pinned revision."""
        return self.repo is not None and self.revision is not None


# Kinds of source embedding with the models that compute them, in order; n(x) = x / |x|.
EMBEDDINGS: dict[str, tuple[str, ...]] = {
    "cscs": ("cscs_encoder", "cscs_adapter"),  # n(encoder) + n(adapter), of norm 2 at most, not normalised again
    "emap": ("w600k_r50",),  # n(n(encoder) @ emap), where emap (512, 512) is the last initialiser of the swapper's file
    "arcface_l2": ("w600k_r50",),  # n(encoder)
    "crossface_simswap": ("w600k_r50", "crossface_simswap"),  # n(converter(encoder)), encoder not normalised
    "crossface_hififace": ("w600k_r50", "crossface_hififace"),  # likewise
    "ghost_arcface": ("ghost_arcface",),  # encoder, not normalised
}

_ZERO: _Colour = (0, 0, 0)
_HALF: _Colour = (0.5, 0.5, 0.5)
_ONE: _Colour = (1, 1, 1)
_CSCS = SwapperSpec("ffhq_512", 256, _HALF, _HALF, "cscs", (-1, 1))
_INSWAPPER = SwapperSpec("arcface_128", 128, _ZERO, _ONE, "emap", (0, 1))
_INSTYLE = SwapperSpec("arcface_128", 256, _ZERO, _ONE, "emap", (0, 1))
_HYPERSWAP = SwapperSpec("arcface_128", 256, _HALF, _HALF, "arcface_l2", (-1, 1))
_SIMSWAP = SwapperSpec("arcface_112_v1", 512, _ZERO, _ONE, "crossface_simswap", (0, 1))
_GHOST = SwapperSpec("arcface_112_v1", 256, _HALF, _HALF, "ghost_arcface", (-1, 1))
_HIFIFACE = SwapperSpec("mtcnn_512", 256, _HALF, _HALF, "crossface_hififace", (-1, 1))

_HUB = "https://huggingface.co"
_ASSETS = "https://github.com/visomaster/visomaster-assets/releases/download/v0.1.0"

_cscs = partial(
    ModelSpec,
    licence="CSCS, non-commercial",
    noncommercial=True,
    terms="The authors of CSCS allow academic, non-commercial use: https://github.com/ICTMCG/CSCS",
    repo="netrunner-exe/Insight-Swap-models-onnx",
    revision="3aa552714fbef06da7c7a49d66c3313e1a444371",
    url=f"{_HUB}/netrunner-exe/Insight-Swap-models-onnx/tree/3aa552714fbef06da7c7a49d66c3313e1a444371",
)
_insightface = partial(
    ModelSpec,
    licence="InsightFace, non-commercial",
    noncommercial=True,
    terms="InsightFace allows non-commercial research: https://github.com/deepinsight/insightface#license",
    arch="onnx",
)
_buffalo = partial(
    _insightface,
    repo="public-data/insightface",
    revision="33c1063c49c785b7652d3fd529f86fa4f149392b",
    url="https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",
)
_inswapper = partial(
    _insightface,
    role="swapper",
    repo="hacksider/deep-live-cam",
    revision="581e70b61240b7928404c17900437f47cfe94133",
    url=f"{_HUB}/hacksider/deep-live-cam/tree/581e70b61240b7928404c17900437f47cfe94133",
    swapper=_INSWAPPER,
)
_hyperswap = partial(
    ModelSpec,
    role="swapper",
    licence="ResearchRAIL-MS",
    noncommercial=True,
    terms="FaceFusion allows research: https://github.com/facefusion/facefusion-labs/blob/master/hyperswap/LICENSE.md",
    bytes=402_742_682,
    arch="onnx",
    swapper=_HYPERSWAP,
)
_simswap = partial(
    ModelSpec,
    licence="CC-BY-NC-4.0",
    noncommercial=True,
    terms="SimSwap allows non-commercial use: https://github.com/neuralchen/SimSwap/blob/main/LICENSE",
    arch="onnx",
)
_crossface = partial(
    ModelSpec,
    role="converter",
    licence="OpenRAIL-MS",
    noncommercial=False,
    terms="CrossFace restricts harmful uses and needs the embeddings of the non-commercial w600k_r50: "
    "https://github.com/facefusion/facefusion-labs/blob/master/crossface/LICENSE.md",
    bytes=22_083_800,
    arch="onnx",
)
_ghost = partial(
    ModelSpec,
    role="swapper",
    licence="Apache-2.0",
    noncommercial=False,
    terms="Apache-2.0: https://github.com/ai-forever/ghost",
    arch="onnx",
    swapper=_GHOST,
)
_unstated = partial(
    ModelSpec,
    licence="not stated",
    noncommercial=True,
    terms="No licence is stated with this file: treat it as non-commercial.",
    arch="onnx",
)

_SPECS = (
    _cscs(
        "cscs_generator",
        "swapper",
        "cscs_256.onnx",
        "664f8f7cab655b825fe8cf57ab90bfbcbb0acf75eab8e7771c824f18bdb28b67",
        bytes=738_639_216,
        arch="aei",
        swapper=_CSCS,
    ),
    _cscs(
        "cscs_encoder",
        "encoder",
        "cscs_arcface_model.onnx",
        "cd81a1745a736402d100d32c362918aee46d9a3f58c9c5ecbf0e415cf2df9dc0",
        bytes=261_029_411,
        arch="iresnet",
    ),
    _cscs(
        "cscs_adapter",
        "encoder",
        "cscs_id_adapter.onnx",
        "288ee88fa208e64846261f9c16f19362db000074b2f4c9000ea49b2311a6d55b",
        bytes=262_080_575,
        arch="id_adapter",
    ),
    _inswapper(
        "inswapper_128",
        file="inswapper_128.onnx",
        sha256="e4a3f08c753cb72d04e10aa0f7dbe3deebbf39567d4ead6dce08e98aa49e16af",
        bytes=554_253_681,
    ),
    _inswapper(
        "inswapper_128_fp16",
        file="inswapper_128.fp16.onnx",
        sha256="6d51a9278a1f650cffefc18ba53f38bf2769bf4bbff89267822cf72945f8a38b",
        bytes=277_680_638,
        path="inswapper_128_fp16.onnx",
    ),
    _hyperswap(
        "hyperswap_1a",
        file="hyperswap_1a_256.onnx",
        sha256="c0e98a8a03a238f461ed3d2570e426b49f46745ee400854a60dceeb70c246add",
        url=f"{_HUB}/facefusion/models-3.3.0/resolve/main/hyperswap_1a_256.onnx",
    ),
    _hyperswap(
        "hyperswap_1b",
        file="hyperswap_1b_256.onnx",
        sha256="5124031789c42f71b9558fb71954ef7aedb6da7ed9fac79293e23c61a792a73e",
        url=f"{_HUB}/facefusion/models-3.3.0/resolve/main/hyperswap_1b_256.onnx",
    ),
    _hyperswap(
        "hyperswap_1c",
        file="hyperswap_1c_256.onnx",
        sha256="5528c2d76fe9986c99d829278987ef9f3a630cb606db7628d02b57b330f406a5",
        url=f"{_HUB}/facefusion/models-3.3.0/resolve/main/hyperswap_1c_256.onnx",
    ),
    _unstated(
        "instyle_a",
        "swapper",
        "InStyleSwapper256_Version_A.fp16.onnx",
        "0e0ef024b935abca69fd367a385200ed46b83a3cc618287ffe89440e2cc646da",
        url=f"{_ASSETS}/InStyleSwapper256_Version_A.fp16.onnx",
        swapper=_INSTYLE,
    ),
    _unstated(
        "instyle_b",
        "swapper",
        "InStyleSwapper256_Version_B.fp16.onnx",
        "0870b6c75eaea239bdd72b6c6d0910cb285310736e356c17a2cd67a961738116",
        url=f"{_ASSETS}/InStyleSwapper256_Version_B.fp16.onnx",
        bytes=277_295_431,
        swapper=_INSTYLE,
    ),
    _unstated(
        "instyle_c",
        "swapper",
        "InStyleSwapper256_Version_C.fp16.onnx",
        "6eaefc04cfb1461222ab72a814ad5b5673ab1af4267f7eb9054e308797567cde",
        url=f"{_ASSETS}/InStyleSwapper256_Version_C.fp16.onnx",
        swapper=_INSTYLE,
    ),
    _simswap(
        "simswap_512",
        "swapper",
        "simswap_512_unoff.onnx",
        "08c6ca9c0a65eff119bea42686a4574337141de304b9d26e2f9d11e78d9e8e86",
        url=f"{_ASSETS}/simswap_512_unoff.onnx",
        bytes=239_249_146,
        swapper=_SIMSWAP,
    ),
    _ghost(
        "ghost_1",
        file="ghost_unet_1_block.onnx",
        sha256="304a86bccb325e7fcf5ab4f4f84ba5172e319bccc9de15d299bb436746e2e024",
        url=f"{_ASSETS}/ghost_unet_1_block.onnx",
    ),
    _ghost(
        "ghost_2",
        file="ghost_unet_2_block.onnx",
        sha256="25b72c107aabe27fc65ac5bf5377e58eda0929872d4dd3de5d5a9edefc49fa9f",
        url=f"{_ASSETS}/ghost_unet_2_block.onnx",
    ),
    _ghost(
        "ghost_3",
        file="ghost_unet_3_block.onnx",
        sha256="f471d4f322903da2bca360aa0d7ab9922e3b0001d683f825ca6b15d865382935",
        url=f"{_ASSETS}/ghost_unet_3_block.onnx",
    ),
    _unstated(
        "hififace",
        "swapper",
        "hififace_unofficial_256.onnx",
        "9de9751617976195114d7f067b9b6cf933748363355cf473cab2da57a739c2ef",
        url=f"{_HUB}/facefusion/models-3.1.0/resolve/main/hififace_unofficial_256.onnx",
        bytes=203_784_742,
        swapper=_HIFIFACE,
    ),
    _buffalo(
        "w600k_r50",
        "encoder",
        "w600k_r50.onnx",
        "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        bytes=174_383_860,
        path="models/buffalo_l/w600k_r50.onnx",
    ),
    _simswap(
        "simswap_arcface",
        "encoder",
        "simswap_arcface_model.onnx",
        "58949c864ab4a89012aaefc117f1ab8548c5f470bbc3889474bca13a412fc843",
        url=f"{_ASSETS}/simswap_arcface_model.onnx",
        bytes=208_969_332,
    ),
    _unstated(
        "ghost_arcface",
        "encoder",
        "ghost_arcface_backbone.onnx",
        "18bb8057d1cd3ca39411b8a4dde485fa55783e08ceecaf2352f551ca39cd1357",
        url=f"{_ASSETS}/ghost_arcface_backbone.onnx",
    ),
    _crossface(
        "crossface_simswap",
        file="crossface_simswap.onnx",
        sha256="6452a261ec30cc30afdbe4a426d82c3b10a476f2df794e3494071c02574e6829",
        url=f"{_HUB}/facefusion/models-3.4.0/resolve/main/crossface_simswap.onnx",
    ),
    _crossface(
        "crossface_hififace",
        file="crossface_hififace.onnx",
        sha256="dfb75f960cb8ef1967a82838e64963b9ff621c4af3e22f9fda48ad958dddec9a",
        url=f"{_HUB}/facefusion/models-3.4.0/resolve/main/crossface_hififace.onnx",
    ),
    _buffalo(
        "scrfd_10g",
        "detector",
        "det_10g.onnx",
        "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
        bytes=16_923_827,
        path="models/buffalo_l/det_10g.onnx",
    ),
    _insightface(
        "scrfd_2.5g",
        "detector",
        "scrfd_2.5g_bnkps.onnx",
        "bc24bb349491481c3ca793cf89306723162c280cb284c5a5e49df3760bf5c2ce",
        url=f"{_ASSETS}/scrfd_2.5g_bnkps.onnx",
    ),
    ModelSpec(
        "gfpgan_1.4",
        "restorer",
        "GFPGANv1.4.onnx",
        "6548e54cbcf248af385248f0c1193b359c37a0f98b836282b09cf48af4fd2b73",
        licence="Apache-2.0",
        noncommercial=False,
        terms="Apache-2.0: https://github.com/TencentARC/GFPGAN/blob/master/LICENSE",
        arch="onnx",
        url=f"{_ASSETS}/GFPGANv1.4.onnx",
        bytes=340_256_690,
    ),
    ModelSpec(
        "codeformer",
        "restorer",
        "codeformer_fp16.onnx",
        "9c3ae2ce2de616815815628f966cdef5d9466722434a1be00c0785ec92e2a94f",
        licence="S-Lab-1.0, non-commercial",
        noncommercial=True,
        terms="S-Lab allows non-commercial use: https://github.com/sczhou/CodeFormer/blob/master/LICENSE",
        arch="onnx",
        url=f"{_ASSETS}/codeformer_fp16.onnx",
        bytes=188_577_164,
    ),
    ModelSpec(
        "restoreformer_plus_plus",
        "restorer",
        "RestoreFormerPlusPlus.fp16.onnx",
        "e5df99ed4f501be2009ed8e708f407dd26ac400c55a43a01d8c8c157bc475b3f",
        licence="Apache-2.0",
        noncommercial=False,
        terms="Apache-2.0: https://github.com/wzhouxiff/RestoreFormerPlusPlus",
        arch="onnx",
        url=f"{_ASSETS}/RestoreFormerPlusPlus.fp16.onnx",
    ),
    ModelSpec(
        "fran",
        "ager",
        "face_reaging.onnx",
        "62c62598a71067cf12680c8421230556d08069d172f1dc645be2a5ebe815fb1f",
        licence="MIT",
        noncommercial=False,
        terms="MIT: https://huggingface.co/timroelofs123/face_re-aging",
        arch="onnx",
        url="https://github.com/VisoMasterFusion/VisoMaster-Fusion/releases/download/v1.0.0/face_reaging.onnx",
    ),
)

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}

# Names for several models at once.
GROUPS: dict[str, tuple[str, ...]] = {"cscs": ("cscs_generator", "cscs_encoder", "cscs_adapter")}
