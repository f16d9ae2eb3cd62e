"""Recorded sessions, as trees and as sessions to run."""
