"""One file for each command of `cscs`: options in, exit code out.

The parser is in `cli`, the work in the packages below.
"""
