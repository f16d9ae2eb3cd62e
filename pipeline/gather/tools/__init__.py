"""The tools that sessions call: each really runs, or waits where it cannot run here."""
