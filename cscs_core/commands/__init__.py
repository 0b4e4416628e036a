"""One file per command of `cscs`: parsed options in, exit code out.

The parser is in `cli`; the work is done by the packages below.
"""
