//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the process's limit of open files and connections to what the system allows it, and
/// gives that; `None` for no limit.
///
/// Shells and service managers start processes with a soft limit of 1,024 for the sake of old
/// programs. A node that meets it can neither take connections nor begin a segment, and the latter
/// stops a partition.
pub fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, limit = ?limit.current, "the limit of open files stays as it is");
            limit.current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        let raised = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, raised);
    }
}
