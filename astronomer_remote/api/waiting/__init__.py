"""
What is waited for, when it is over, and when to poll next: pure.

It decides; ``runs`` and ``watch`` poll.
"""
