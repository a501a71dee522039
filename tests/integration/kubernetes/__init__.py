"""Tests on a real control plane and CoreDNS."""
