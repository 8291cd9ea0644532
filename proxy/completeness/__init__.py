"""Did anybody go round the proxy? What the server itself has counted, against the trail."""
