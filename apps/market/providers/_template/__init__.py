"""A provider to copy: rename the folder, fill in the three files, and name it in `providers/__init__.py`.

What must hold is written where it must: `client.py` loses no frame unseen, `parsers.py` is pure, `adapter.py` calls
the sink in the order of the frames. `tests/providers/` shows how such a folder is tested: recorded frames for the
parsers, and the whole feed against a local server that speaks the venue's protocol.
"""
