"""`python -m failwell.cli`."""

from failwell.cli import main

main()
