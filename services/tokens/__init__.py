"""Keys in exchange for tokens: a module for each grant, what all of them end in, and signed-in devices."""
