"""Pictures for people: maps laid over parts, and a report in one file."""
