"""`python -m amiss` is the `amiss` command."""

from amiss.cli import main

main()
