"""The types of our sockets, named so that no other pack's are like them. Values lie on the CPU between nodes."""

from __future__ import annotations

from comfy_api.latest import io

Faces = io.Custom("CSCS_FACES")  # a FaceSet; its frame column counts the images of the batch
Crops = io.Custom("CSCS_CROPS")  # a Crops; likewise
Identity = io.Custom("CSCS_IDENTITY")  # an Identity
Detector = io.Custom("CSCS_DETECTOR")  # a models.Choice, as the next two
Swapper = io.Custom("CSCS_SWAPPER")
Restorer = io.Custom("CSCS_RESTORER")
