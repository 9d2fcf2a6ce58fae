//! The page: one file, compressed, and the policy that lets a browser run nothing else.
//!
//! `page/index.html` is what people change. Beside it lie what is served, `index.html.gz`, and the policy with the fingerprints of its one
//! script and one style, `policy.txt`; both are made of it by `FIELDGATE_ACCEPT=1 cargo test --test page`, and that test compares them.

/// Sent as it is, with `Content-Encoding: gzip`.
pub(super) const COMPRESSED: &[u8] = include_bytes!("page/index.html.gz");

/// The page's Content-Security-Policy.
pub(super) const POLICY: &str = include_str!("page/policy.txt");
