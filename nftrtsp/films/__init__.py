"""Who watches what: films and set-top boxes, from what the kernel and the helper say. Pure."""
