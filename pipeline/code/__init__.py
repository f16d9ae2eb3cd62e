"""Stage `code`: which code each other stage runs, so that a stage is run anew when its own code has changed."""
