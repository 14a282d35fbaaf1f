"""Reading everything, and making anew: verification, and repair into a new store."""
