//! Rows N: links that break, stall, flap and come back.
