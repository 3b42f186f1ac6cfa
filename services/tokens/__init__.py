"""Keys of minutes in exchange for tokens: a module for each grant, and what all of them end in."""
