"""One program an attack. Each refuses to run outside a lab's network namespace."""
