//! The program `edgelet-oci` on its own; the multicall binary calls the same function.

fn main() -> std::process::ExitCode {
    edgelet_oci::cli::main(std::env::args_os().collect())
}
