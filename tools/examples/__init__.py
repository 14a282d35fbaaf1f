"""Small programs over the library, to read and to copy from; each is run by a test.

- `driver`: a snapshot driver on directories, which the tutorial builds step by step;
- `qcow2`: a driver of virtual disks, whose intents reserve ids;
- `reflink`: a driver of data sets that share blocks, whose stages are renamed;
- `ledger`: a projection of one's own, the accounts of a bank;
- `follower`: another process that prints batches as they are committed.
"""
