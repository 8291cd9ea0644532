"""What clients hold (statements, portals, cursors, copies) while policy, roles and catalog change under them: a matrix."""
