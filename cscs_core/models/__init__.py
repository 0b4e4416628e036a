"""Networks, one file each: a frozen config and a module. `ARCHITECTURES` names those a weights file may ask for."""

from .blocks import for_inference
from .detector import DetectorConfig, FaceDetector
from .encoder import EncoderConfig, IdentityEncoder
from .landmarks import FaceMesh, FaceMeshConfig, LandmarkConfig, LandmarkNet

ARCHITECTURES = {
    "face_detector": (DetectorConfig, FaceDetector),
    "face_mesh": (FaceMeshConfig, FaceMesh),
    "identity_encoder": (EncoderConfig, IdentityEncoder),
}

__all__ = [
    "ARCHITECTURES",
    "DetectorConfig",
    "EncoderConfig",
    "FaceDetector",
    "FaceMesh",
    "FaceMeshConfig",
    "IdentityEncoder",
    "LandmarkConfig",
    "LandmarkNet",
    "for_inference",
]
