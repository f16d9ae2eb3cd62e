"""Stage `package`: the bundle, and its version in MLflow."""
