"""Model files: the registry, the local store, download, conversion, checks and loading.

What a network does with a face is in `faces`.
"""
