"""The contract, tried with the generators that its consumers use."""
