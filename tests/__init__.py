"""The tests. They run against the installed package, and against real DNS servers on loopback."""
