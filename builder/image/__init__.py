"""The OCI and Docker image model as pure values: digests, references, descriptors, manifests, configs."""
