//! The only place where the engine's ports meet the mechanisms.

mod catalog;
mod entropy;
mod ledger;

pub use catalog::StoreCatalog;
pub use entropy::KernelEntropy;
pub use ledger::StoreLedger;
