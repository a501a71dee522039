"""The sources, floor 2: each room on its own, most of them without a network."""
