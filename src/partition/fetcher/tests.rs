//! Scripts of the fetcher core.
