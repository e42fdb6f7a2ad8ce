"""How the tables came to be what they are. Run by `ledger.opening`, never by hand."""
