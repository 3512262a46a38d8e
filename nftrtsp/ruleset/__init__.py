"""What the router should do: config to ruleset, ruleset to kernel."""
