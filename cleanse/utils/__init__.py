"""Small helpers without torch models in them."""
