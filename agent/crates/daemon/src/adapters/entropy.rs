//! Randomness from the kernel.

use edgelet_engine::Entropy;

/// Identities from `getrandom(2)`.
pub struct KernelEntropy;

impl Entropy for KernelEntropy {
    fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // Fails only on kernels without the call (before 3.17), where nothing else of ours runs either.
        getrandom::fill(&mut bytes).expect("the kernel has random numbers");
        bytes
    }
}
