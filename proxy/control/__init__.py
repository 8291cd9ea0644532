"""What the proxy knows about the server behind it: catalog, roles and policy, as immutable snapshots."""
