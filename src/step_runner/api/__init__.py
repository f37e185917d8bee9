"""The gRPC interface: converts messages into calls to the jobs, and their results into messages."""
