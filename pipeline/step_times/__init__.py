"""What steps of an engine take: profiles fitted to recorded steps, and scaled ones."""
