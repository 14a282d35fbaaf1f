"""The sections: one question a file.

In each, `run` asks: the parent's half, which takes turns. The other public functions measure: they
run in a child, and return figures.
"""
