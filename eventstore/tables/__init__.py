"""The state in memory, and its file: tables, versions, views, packed rows, checkpoints."""
