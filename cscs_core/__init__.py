"""The torch core of the CSCS face swapper, usable without ComfyUI.

From the bottom up: `types`, `io`, `ops`; `models`; `hub`; `faces`; `pipeline` and `surrogates`; `tasks` and `pairs`;
`train`; `eval` and `commands`; `cli`. A module imports only from packages further down.
"""
