"""Face swappers behind one protocol; `catalogue` knows them by name.

Their training is in `train`.
"""
