"""`cscs pairs`: a folder of photographs becomes a folder of training pairs.

How one surrogate is made is in `surrogates`.
"""
