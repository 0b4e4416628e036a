"""Model files: which are known, where they lie, how they are fetched, checked, converted and loaded.

What a network does with a face is in `faces`.
"""
