"""Training: one file for each bundled network; swappers in `swap`.

Only the command line and tests import this.
"""
