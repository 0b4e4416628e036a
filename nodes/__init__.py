"""The only package that knows ComfyUI: each node is a schema and a few lines that call the core."""

from comfy_api.latest import ComfyExtension, io

from . import loaded
from .adapt import ExplicitAdaptation
from .crop import AlignFaces, PasteFaces
from .detect import DetectFaces
from .domain import CrossDomain
from .identity import BlendIdentities, FaceIdentity
from .identity_file import LoadIdentity, SaveIdentity
from .load import LoadModel
from .mask import FaceMask
from .pairs import ProxyPairs
from .preview import PreviewFaces
from .reage import ReAge
from .report import FaceReport
from .restore import RestoreFaces
from .save import SaveImage
from .select import SelectFaces
from .surrogate import SourceSurrogate, TargetSurrogate
from .swap import FaceSwap
from .swap_crops import SwapFaces
from .track import TrackFaces


class CSCSExtension(ComfyExtension):
    async def on_load(self) -> None:
        loaded.add_model_folder()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadModel,
            RestoreFaces,
            DetectFaces,
            SelectFaces,
            TrackFaces,
            PreviewFaces,
            AlignFaces,
            PasteFaces,
            FaceMask,
            FaceIdentity,
            BlendIdentities,
            SaveIdentity,
            LoadIdentity,
            SwapFaces,
            FaceSwap,
            SourceSurrogate,
            TargetSurrogate,
            ExplicitAdaptation,
            ProxyPairs,
            ReAge,
            CrossDomain,
            FaceReport,
            SaveImage,
        ]
