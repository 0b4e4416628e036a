"""One face at a time: found, aligned, identified, selected, tracked, masked, swapped, restored, pasted.

Whole jobs over pictures are in `pipeline` and `tasks`.
"""
