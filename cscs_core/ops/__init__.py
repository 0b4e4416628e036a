"""Pure tensor functions: geometry, the face mesh, warps, masks, colour, batching.

Nothing here opens a user's files or runs a network.
"""
