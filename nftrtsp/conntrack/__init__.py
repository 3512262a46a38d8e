"""What the kernel is doing: ctnetlink messages, sockets and a table that is right."""
