//! The binary `plimsoll`.

use std::process::ExitCode;

/// Rendering is strings put together from strings: a third of `generate` was the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    plimsoll::cli::main()
}
