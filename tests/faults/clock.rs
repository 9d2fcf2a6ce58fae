//! Row C: clocks that are wrong and jump.
