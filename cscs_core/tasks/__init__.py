"""Whole jobs other than the plain swap: re-ageing, cross-domain swaps, blended identities, reports.

Each is used by a node or a command.
"""
