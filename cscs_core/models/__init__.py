"""Networks, one file each, with a frozen config and a module. `ARCHITECTURES` lists those that weights files name.

Loading weights is in `hub`, using a network on faces is in `faces`.
"""

from .adapter import IdAdapter, IdAdapterConfig
from .aei import AEIConfig, AEINet
from .aei_fused import AEIIdentity, FusedAEINet
from .detector import DetectorConfig, FaceDetector
from .discriminator import Discriminator, DiscriminatorConfig
from .encoder import EncoderConfig, IdentityEncoder
from .graph import GraphConfig, GraphNet
from .inference import for_inference
from .iresnet import IResNet, IResNetConfig
from .landmarks import FaceMesh, FaceMeshConfig, LandmarkConfig, LandmarkNet
from .refiner import Refiner, RefinerConfig
from .restorer import FaceRestorer, FaceRestorerConfig
from .small_generator import SmallGenerator, SmallGeneratorConfig

ARCHITECTURES = {
    "face_detector": (DetectorConfig, FaceDetector),
    "face_mesh": (FaceMeshConfig, FaceMesh),
    "identity_encoder": (EncoderConfig, IdentityEncoder),
    "aei": (AEIConfig, AEINet),
    "iresnet": (IResNetConfig, IResNet),
    "id_adapter": (IdAdapterConfig, IdAdapter),
    "discriminator": (DiscriminatorConfig, Discriminator),
    "small_generator": (SmallGeneratorConfig, SmallGenerator),
    "graph": (GraphConfig, GraphNet),
    "refiner": (RefinerConfig, Refiner),
    "face_restorer": (FaceRestorerConfig, FaceRestorer),
}

__all__ = [
    "ARCHITECTURES",
    "AEIConfig",
    "AEIIdentity",
    "AEINet",
    "DetectorConfig",
    "Discriminator",
    "DiscriminatorConfig",
    "EncoderConfig",
    "FaceDetector",
    "FaceMesh",
    "FaceMeshConfig",
    "FaceRestorer",
    "FaceRestorerConfig",
    "FusedAEINet",
    "GraphConfig",
    "GraphNet",
    "IResNet",
    "IResNetConfig",
    "IdAdapter",
    "IdAdapterConfig",
    "IdentityEncoder",
    "LandmarkConfig",
    "LandmarkNet",
    "Refiner",
    "RefinerConfig",
    "SmallGenerator",
    "SmallGeneratorConfig",
    "for_inference",
]
