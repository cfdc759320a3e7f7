"""
Who sends requests: one driver over ``requests``, one over ``aiohttp``.

They hold no policy; only they do I/O.
"""
