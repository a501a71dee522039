"""Requests over pods: real sockets, and servers that misbehave as they are told."""  # noqa: A005 - always imported as tests.http, after the package it tests
