"""What an evaluation found: intervals, tables, figures, and the page that shows them."""
