"""The embedded Service: against a real server's answers, and as tests of its own use it."""
