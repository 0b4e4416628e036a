"""Operations on faces: detect, align, identify, select, track, mask, swap, restore, paste.

Whole jobs on images are in `pipeline` and `tasks`.
"""
