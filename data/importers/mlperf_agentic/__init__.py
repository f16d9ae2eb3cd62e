"""Importer of MLPerf Endpoints' agentic conversations."""
