"""The core without a network: hand-made answers and times, and what must follow from them."""
