"""The nouns of this service: plain values without I/O."""
