"""The tools of sessions. Each really runs, or waits if it cannot run on this machine."""
