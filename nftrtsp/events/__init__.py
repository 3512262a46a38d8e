"""What the kernel and the helper say, as typed values."""
