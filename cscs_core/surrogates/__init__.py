"""The source and target surrogates of CSCS, and explicit adaptation: training inputs made from photographs.

Writing them to folders is in `pairs`.
"""
