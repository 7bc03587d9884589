//! The broker configs that tools read or change.

use super::ConfigDef;

/// Every broker config, sorted by name.
pub static BROKER_CONFIGS: &[ConfigDef] = &[];
