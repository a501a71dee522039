"""The library against real DNS servers: what each answer does to a set."""
