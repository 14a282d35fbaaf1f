"""Small programs over the library, to read and to copy from; each is run by a test.

- `driver`: a snapshot driver on directories, which the tutorial builds step by step;
- `ledger`: a projection of one's own, the accounts of a bank;
- `follower`: another process that prints batches as they are committed.
"""
