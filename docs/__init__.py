"""Pages for users, and what generates some of them."""
