"""How far a training has come, on rows that it never sees: losses at fixed noise, and clips.

config     the table `[validation]`
"""
