"""What compose/ provisions for Prometheus and Grafana, against a real Prometheus and a running demo."""
