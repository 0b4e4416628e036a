"""Networks, one file each: a frozen config and a module. `ARCHITECTURES` names those a weights file may ask for."""

from .detector import DetectorConfig, FaceDetector
from .encoder import EncoderConfig, IdentityEncoder
from .landmarks import LandmarkConfig, LandmarkNet

ARCHITECTURES = {
    "face_detector": (DetectorConfig, FaceDetector),
    "landmark_net": (LandmarkConfig, LandmarkNet),
    "identity_encoder": (EncoderConfig, IdentityEncoder),
}

__all__ = [
    "ARCHITECTURES",
    "DetectorConfig",
    "EncoderConfig",
    "FaceDetector",
    "IdentityEncoder",
    "LandmarkConfig",
    "LandmarkNet",
]
