"""The command line, run as users run it: the installed command, in a process of its own."""
