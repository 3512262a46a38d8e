"""A first configuration, drafted from this router's own links, addresses, neighbours and leases."""
