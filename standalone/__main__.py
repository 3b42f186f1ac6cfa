"""`python -m standalone`."""

from standalone.program import main

main(prog_name="standalone")
