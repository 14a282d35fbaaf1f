"""The write-ahead log: segments of records, written by `writer`, read by `reader`.

`spare` prepares segments ahead of need. The seam that the engine talks to, so that another log
can stand in the place of this one, is `eventstore.log.interface`.
"""
