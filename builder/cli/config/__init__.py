"""Builds as files and the environment describe them: ``[build]``, ``[target.NAME]`` and ``[group]`` of a
``pybuild.toml``, and the variables ``PYBUILD_*``. Loaded only where there is one of these. Registries and the store are
``builder.settings``.
"""
