"""`make watch`: the tests that a change touches, again at each save."""
