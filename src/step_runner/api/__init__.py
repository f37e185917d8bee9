"""The wire: gRPC messages in, calls to the jobs, gRPC messages out."""
