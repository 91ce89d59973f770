//! The engine's durable memory, in the store.

use edgelet_engine::Ledger;
use edgelet_store::Store;
use edgelet_types::Fault;
use edgelet_types::record::{Change, Contents};
use std::sync::Arc;

/// [`Ledger`] over the store.
pub struct StoreLedger(pub Arc<Store>);

impl Ledger for StoreLedger {
    fn load(&mut self) -> Result<Contents, Fault> {
        Ok(self.0.load()?)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Fault> {
        Ok(self.0.commit(changes)?)
    }
}
