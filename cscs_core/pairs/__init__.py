"""`cscs pairs`: a folder of photographs becomes a folder of training pairs.

How a surrogate is made is in `surrogates`.
"""
