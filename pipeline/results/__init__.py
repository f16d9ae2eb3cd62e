"""Results of evaluations: the file of metrics, confidence intervals, tables, and the set-up of figures."""
