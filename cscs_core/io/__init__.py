"""Files, pictures, terminal output and provenance metadata.

Nothing here knows of faces or networks.
"""
