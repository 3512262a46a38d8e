"""One judge of the router's health: facts are read once, checks judge, every view tells it."""
