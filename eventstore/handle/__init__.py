"""What the handle of a store is made of: transactions and their lock, the past, watches."""
