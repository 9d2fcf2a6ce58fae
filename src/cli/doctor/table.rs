//! THE TABLE of checks, in the order in which a cause comes before what it causes; docs/troubleshooting.md explains every cause.

use crate::cli::doctor::check::Check;
use crate::cli::doctor::{account, board, broker, buses, configuration, gateway, page, storage, unit};

/// THE TABLE.
pub static CHECKS: &[Check] = &[
    configuration::CONFIGURATION,
    account::ACCOUNT,
    board::BOARD,
    board::KERNEL,
    buses::BUSES,
    buses::ADDRESSES,
    buses::LINES,
    storage::DISK,
    storage::SPOOL,
    storage::INSTANCE,
    unit::UNIT,
    broker::FILES,
    broker::NAME,
    broker::PORT,
    // Only certificates suffer from a wrong date, and a board without a network gets none.
    board::CLOCK,
    broker::TLS,
    broker::WEBSOCKET,
    broker::LOGIN,
    broker::PUBLISH,
    gateway::GATEWAY,
    gateway::BUSES,
    gateway::SENSORS,
    page::PAGE,
    unit::AT_BOOT,
    storage::SET_ASIDE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_check_and_each_cause_stands_once_in_the_table() {
        let ids: BTreeSet<_> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), CHECKS.len());
        let causes: Vec<_> = CHECKS.iter().flat_map(|check| check.causes).collect();
        assert_eq!(causes.iter().collect::<BTreeSet<_>>().len(), causes.len());
    }
}
