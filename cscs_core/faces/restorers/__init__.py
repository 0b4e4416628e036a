"""Face restorers behind one protocol; `catalogue` knows them by name.

Their networks are in `models` or spandrel.
"""
