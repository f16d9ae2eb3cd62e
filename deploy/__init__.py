"""What is deployed around a server: dashboard, alerts, container, manifests. No part of the wheel."""
