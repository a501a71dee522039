"""The test cluster itself: each thing that it offers, shown on the real parts."""
