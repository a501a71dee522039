"""A headless service name goes in, a live and trustworthy set of pods comes out."""
