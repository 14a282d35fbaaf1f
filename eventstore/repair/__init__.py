"""Repair of a damaged store, into a new one: `repair.repair_store`.

`salvage` finds everything that still holds, `chains` joins it to histories, `repair` chooses one
and says what was lost, `restored` writes the new store.
"""
