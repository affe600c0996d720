"""Settings: what pybuild.toml and [tool.pybuild] may say."""
