"""Stage `public`: the public sets of traces."""
