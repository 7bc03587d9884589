//! Settings of a node: flags, then `PURLIN_*` environment, then a TOML file.
