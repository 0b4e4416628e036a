"""Face detectors behind one protocol; `catalogue` knows them by name.

Dense landmarks are in `faces.landmarks`.
"""
