"""The command line, one module per command."""

import gc

ALLOCATIONS_PER_COLLECTION = 20_000

# Before the imports of a start: what they make stays, and looking for garbage among it is a tenth of their time.
gc.set_threshold(ALLOCATIONS_PER_COLLECTION)
