"""Training swappers on pairs: presets, data, steps, validation and exact resume.

The networks are in `models`.
"""
