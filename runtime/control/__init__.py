"""Changes without a restart: another bundle or mode, found by a thread and applied by the engine between two steps."""
