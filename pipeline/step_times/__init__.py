"""What steps of an engine take: recorded steps, the engine that they tell of, fitted profiles and scaled ones."""
