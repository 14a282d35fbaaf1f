"""The state in memory: tables, versions, views, indexes, packed rows."""
