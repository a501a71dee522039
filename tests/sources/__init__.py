"""The sources: each module on its own, most of them without a network."""
