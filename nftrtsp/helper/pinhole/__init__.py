"""The pinhole helper: copies over NFLOG, elements of a timed map."""
