"""HTTP clients for other systems, one package each."""
