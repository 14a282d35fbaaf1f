"""The messages of the service, compiled from the `.proto` files by tools/protos.py."""
