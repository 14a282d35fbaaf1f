"""Projections: folds of events into tables, built on the public names of `eventstore`."""
