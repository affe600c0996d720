"""The client side of the OCI distribution protocol: pull, push, credentials. Imports no HTTP library until it asks."""
