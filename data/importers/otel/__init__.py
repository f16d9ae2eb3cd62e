"""Importer of OpenTelemetry spans."""
