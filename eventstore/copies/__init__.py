"""Copies of a store: backup and restore, dump and load."""
