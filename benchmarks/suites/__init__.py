"""The cells of each suite, and the reasons for them."""
