"""Evaluation: independent judges, the numbers of the model card, and the experiment with proxy pairs.

Swaps do not use anything in here.
"""
