"""Measuring: independent judges, figures of the model card, the evidence for surrogates.

Nothing here is used by a swap.
"""
