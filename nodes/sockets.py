"""Our socket types, with a prefix so that they differ from those of other packs. Values stay on the CPU between
nodes."""

from __future__ import annotations

from comfy_api.latest import io

Faces = io.Custom("CSCS_FACES")  # a FaceSet; its frame column is the index in the batch
Crops = io.Custom("CSCS_CROPS")  # a Crops; likewise
Identity = io.Custom("CSCS_IDENTITY")  # an Identity
Detector = io.Custom("CSCS_DETECTOR")  # a loaded.Choice, like the next two
Swapper = io.Custom("CSCS_SWAPPER")
Restorer = io.Custom("CSCS_RESTORER")
