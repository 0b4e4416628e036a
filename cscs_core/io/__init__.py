"""Files, pictures, the terminal and provenance marks: what crosses the border to disk.

No faces and no networks.
"""
