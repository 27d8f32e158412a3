//! Ctrl-C and SIGTERM while a command writes files: what is not whole goes, and it is said what was left undone.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::out;

/// What a signal finds.
#[derive(Default)]
struct State {
    /// Whether signals are listened for; before that a file is none of ours.
    listens: bool,
    /// The file that is not whole yet.
    temporary: Option<PathBuf>,
    /// What is said.
    undone: String,
}

static STATE: Mutex<State> = Mutex::new(State { listens: false, temporary: None, undone: String::new() });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on a signal ends this command tidily. For commands that end by themselves: those that serve have an end of
/// their own.
pub fn listen() {
    if std::mem::replace(&mut state().listens, true) {
        return;
    }
    let (ready, is_ready) = mpsc::channel();
    let listening = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let both = || -> io::Result<(Signal, Signal)> {
                Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
            };
            // Whoever cannot listen is ended as ever.
            let Ok((mut interrupt, mut terminate)) = both() else { return };
            let _ = ready.send(());
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            end(code);
        });
    });
    if listening.is_ok() {
        // An error says that the thread is gone: then there is nothing to wait for.
        let _ = is_ready.recv();
    }
}

/// Nobody makes or finishes a file after this: whoever wants to waits for the end of the process.
fn end(code: i32) -> ! {
    let state = state();
    if let Some(path) = &state.temporary {
        let _ = std::fs::remove_file(path);
    }
    let undone = if state.undone.is_empty() { "nothing was written" } else { &state.undone };
    out::stderr(&format!("interrupted: {undone}\n"));
    std::process::exit(code)
}

/// What is said from now on when a signal comes.
pub fn undone(text: String) {
    state().undone = text;
}

/// Makes a file that is not whole until [`whole`]; gives what `make` gives beside its path.
///
/// # Errors
/// Those of `make`.
pub fn temporary<T>(make: impl FnOnce() -> io::Result<(T, PathBuf)>) -> io::Result<T> {
    // Held while it is made: a signal finds it known or not there.
    let mut state = state();
    let (made, path) = make()?;
    state.temporary = Some(path);
    Ok(made)
}

/// Gives such a file its name by `rename`, after which it is no temporary one any more, and this is said.
///
/// # Errors
/// Those of `rename`.
pub fn whole<T>(said: String, rename: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut state = state();
    let renamed = rename()?;
    (state.temporary, state.undone) = (None, said);
    Ok(renamed)
}

/// What is said of a file that is written beside the one of before.
pub fn as_it_was(path: &Path) -> String {
    let shown = crate::source::files::shown(path);
    if path.exists() {
        format!("{shown} is as it was before; run it again")
    } else {
        format!("{shown} was not written")
    }
}
