"""
One request with its login, its retries and one reading of the reply.

Pages of a listing are read here, too.
"""
