//! What is said in the terminal: few lines, each with its time.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::cli::out;

fn now() -> impl std::fmt::Display {
    Timestamp::now().strftime("%H:%M:%SZ").to_string()
}

/// Says.
#[derive(Clone, Debug, Default)]
pub struct Say {
    /// Instead of the terminal, in tests.
    heard: Option<Arc<Mutex<Vec<String>>>>,
}

impl Say {
    /// Keeps what is said instead of saying it.
    #[cfg(test)]
    pub(super) fn to_test() -> (Self, Arc<Mutex<Vec<String>>>) {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        (Self { heard: Some(Arc::clone(&heard)) }, heard)
    }

    /// Something has changed.
    pub fn news(&self, text: &str) {
        if self.keeps(text) {
            return;
        }
        let line = format!("{} {text}\n", now());
        // Who does not listen any more does not end this.
        let _ = out::stdout(|writer| writer.write_all(line.as_bytes()));
    }

    /// Something is wrong.
    pub fn trouble(&self, text: &str) {
        if !self.keeps(text) {
            out::stderr(&format!("{} {text}\n", now()));
        }
    }

    /// Text as it is, on standard error.
    pub fn plain(&self, text: &str) {
        if !self.keeps(text) {
            out::stderr(text);
        }
    }

    fn keeps(&self, text: &str) -> bool {
        let Some(heard) = &self.heard else { return false };
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        true
    }
}
