"""What a server needs of the models: prediction, settings, and the bundle that holds both."""
