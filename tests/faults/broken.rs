//! Whether the suite can fail: it is run against programs that were broken on purpose.
