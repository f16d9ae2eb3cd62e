"""Importer of kv-cache-tester sessions."""
