"""Training: one module for each bundled network, and swappers in `swap`.

Only the command line, `eval` and tests import this.
"""
