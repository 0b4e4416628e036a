"""Pure functions of tensors: geometry, the face mesh, warps, masks, colour, batching.

No files that a user names, no networks.
"""
