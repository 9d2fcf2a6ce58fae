//! Rows D: disks that fail, fill, tear and lose power.
