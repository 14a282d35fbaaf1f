"""The directory of a store: what is there, who holds it, and how one is made."""
