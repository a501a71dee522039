"""Examples and documentation, run as they stand."""
