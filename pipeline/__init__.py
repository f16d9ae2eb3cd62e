"""The stages of the DVC pipeline, one package each, and the libraries that they share."""
