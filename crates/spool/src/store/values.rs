//! What users have set, as rows.

use rusqlite::params;

use crate::record;
use crate::rows::read_values;
use crate::store::{Batch, Store};
use crate::values::SetValue;

impl Store {
    /// What users have set, and how many rows of it are damaged.
    pub(crate) fn values(&self) -> rusqlite::Result<(Vec<SetValue>, Vec<String>)> {
        let (mut sound, mut unsound) = (Vec::new(), Vec::new());
        read_values(&self.connection, |recipient, value| match value {
            Some(value) => sound.push(value),
            None => unsound.push(recipient),
        })?;
        Ok((sound, unsound))
    }
}

impl Batch<'_> {
    /// Writes what users have set.
    pub(crate) fn put_values(&self, values: &[SetValue]) -> rusqlite::Result<()> {
        let mut put = self.transaction.prepare_cached("INSERT OR REPLACE INTO value VALUES (?1, ?2, ?3)")?;
        for (recipient, value) in values {
            let recipient = recipient.as_text();
            put.execute(params![recipient, value, record::value_sum(&recipient, value)])?;
        }
        Ok(())
    }
}
