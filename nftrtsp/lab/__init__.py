"""A self-contained network of set-top boxes, a router and a provider, in network namespaces."""
