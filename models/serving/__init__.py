"""The serving side of the models: prediction, settings, and the bundle."""
