"""Benchmarks of the store, and of its peers beside it: `python -m tools.bench`.

What is compared is measured in turns, round by round, so that a machine that changes its speed
changes all sides; a ratio is taken within each round, and the median of these is shown. Nothing
here is a test: a machine that is busy with something else shows it.

Every participant is a process of its own, so that none shares an interpreter, a collector or
memory with another:

    __main__    the command: which sections, how large, where the results go
    sections/   one question a file: what the parent asks, and what the children measure
    peers/      one adapter a file: the same transaction, done by each in its own way
    workload    that transaction, and the names and labels of the snapshots
    children    how the parent starts children, on this source or on another checkout
    child       what runs there
    results     samples, quartiles and ratios by pairs; their text and their JSON
    machine     what the numbers were measured on
    plot        the picture for the docs: `python -m tools.bench.plot RESULTS.json PICTURE.svg`

The children's half uses public names of the engine and of the metastore only, and only those that
older sources have too, so that `--against CHECKOUT` can measure these in the same run. `history`
measures this source alone, and may use what only it has.
"""
