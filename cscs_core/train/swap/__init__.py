"""Training a swapper on pairs: presets, data, steps, checks, exact resume.

The networks are in `models`.
"""
