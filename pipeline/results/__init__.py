"""What an evaluation found: its file of metrics, intervals, tables and figures. A library under several stages."""
