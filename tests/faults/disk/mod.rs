//! D1, D2, D4, D5 and D6: the disk loses power, fails, is slow, is full, and must not be worn out.
//!
//! Nothing here touches a disk of the machine: file systems are made in files of the test's own folder, mounted there and
//! taken away again, and what a disk would answer is put into the program's system calls by strace.

mod cut;
mod failing;
mod full;
mod ids;
pub(crate) mod mount;
mod slow;
mod wear;
