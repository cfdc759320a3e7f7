"""
What a request, a reply, an error and a model are: pure, no I/O.

Everything else is written in these words.
"""
